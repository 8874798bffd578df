"""Amounts on the command line: how long, and how much, where "no limit" is an answer too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import click

from headrace.runtime import quantity
from headrace.runtime.quantity import FOREVER, bytes_of, milliseconds_of, seconds_of

N = TypeVar("N", int, float)

UNLIMITED: Final = -1
"""What `forever` and `unlimited` become; None is an option that was not given."""


def parse_delay(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Seconds from `10`, `1.5s`, `5m`, `2h`, `7d`: a callback for an option."""
    return None if text is None else _parsed(seconds_of, text, "")


def parse_retention(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Milliseconds from `90s`, `12h`, `7d`, or `UNLIMITED` from `forever`: a callback for an option."""
    if text is None or text == FOREVER:
        return None if text is None else UNLIMITED
    return _some(_parsed(milliseconds_of, text, f", or {FOREVER!r}"), text, FOREVER)


def parse_size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Bytes from `1000`, `64MiB`, `10GB`, or `UNLIMITED` from `unlimited`: a callback for an option."""
    if text is None or text == quantity.UNLIMITED:
        return None if text is None else UNLIMITED
    return _some(_parsed(bytes_of, text, f", or {quantity.UNLIMITED!r}"), text, quantity.UNLIMITED)


def limit(given: int | None, before: int | None = None) -> int | None:
    """What holds after an option: the limit, None for no limit; `before` if it was not given."""
    return before if given is None else None if given == UNLIMITED else given


def duration(milliseconds: int | None) -> str:
    """A retention for the eye."""
    if milliseconds is None:
        return "forever"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def size(count: int | None) -> str:
    """A size for the eye."""
    if count is None:
        return "unlimited"
    shown = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if shown < 1000:
            return f"{shown:.0f} {unit}" if unit == "B" else f"{shown:.1f} {unit}"
        shown /= 1000
    return f"{shown:.1f} TB"


def _parsed(read: Callable[[str], N], text: str, more: str) -> N:
    try:
        return read(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}{more}") from error


def _some(number: int, text: str, no_limit: str) -> int:
    if number < 1:
        raise click.BadParameter(f"{text!r} would keep nothing: write more than that, 64MiB or 7d, or {no_limit!r}")
    return number


def not_due(count: int, ms: int) -> str:
    """What is said of delayed events whose time has not come, the first of them in `ms` milliseconds."""
    events = "1 delayed event is" if count == 1 else f"{count:,} delayed events are"
    return f"{events} not due yet, the next in {_rounded(max(1, -(-ms // 1000)))}"


def _rounded(seconds: int) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{seconds} s"
