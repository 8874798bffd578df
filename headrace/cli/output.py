"""Printing: data on stdout, talk on stderr."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click


def print_json(document: Any) -> None:
    """One JSON document on one line of stdout."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # half a surrogate pair, or a locale without it; JSON has escapes of its own
        text = json.dumps(document, separators=(",", ":"))
    click.echo(text)


def say(message: str) -> None:
    """A line for the person, on stderr."""
    click.echo(message, err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table of plain columns; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    for row in [list(columns), *cells]:
        padded = [c.rjust(w) if c.isdigit() else c.ljust(w) for c, w in zip(row, widths, strict=True)]
        click.echo("  ".join(padded).rstrip())


def text_or_base64(data: bytes) -> str | dict[str, str]:
    """Bytes for JSON: text if they are UTF-8, else `{"base64": …}`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def json_or_text(data: bytes | None) -> Any:
    """A record's data for JSON: the JSON value it is, else its text, else `{"base64": …}`; None for a tombstone."""
    if data is None:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return text_or_base64(data)
