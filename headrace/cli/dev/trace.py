"""A failure for people: the error first, then the user's own lines, the nearest to the error first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from headrace.sandbox.outcome import Failure

_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+), in (?P<name>.+)')
_MARKS = re.compile(r"[\s^~]+")
_LED_TO = "which led to:"
_MOST_FRAMES = 4
_MOST_CAUSES = 2
_MOST_MESSAGE = 6


def near(text: str) -> str:
    """A message with paths as one would type them here."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")


def printable(text: str) -> str:
    """Text that cannot do anything to a terminal: what is in an event, or in its error, is anybody's."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown_path(file: str, folder: Path) -> str:
    """A path relative to `folder` if it is below."""
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file


def short_trace(failure: Failure, folder: Path) -> list[str]:
    """The lines of it. Paths are relative to `folder` where they are below."""
    *causes, own = _sections(failure.stack)
    lines = [*_message(f"{failure.type}: {failure.message}" if failure.message else failure.type)]
    lines += [f"  {line}" for line in _frames(own, folder)]
    for cause in list(reversed(causes))[:_MOST_CAUSES]:
        lines += [f"caused by {line}" for line in _message(_error_of(cause))[:1]]
        lines += [f"  {line}" for line in _frames(cause, folder)]
    return lines


def _sections(stack: str) -> list[list[str]]:
    """The lines of each error in a chain, the one that was raised last at the end."""
    sections: list[list[str]] = [[]]
    for line in stack.splitlines():
        if line == _LED_TO:
            sections.append([])
        else:
            sections[-1].append(line)
    return sections


def _error_of(section: list[str]) -> str:
    return next((line for line in reversed(section) if line and not line.startswith(" ")), "")


def _message(text: str) -> list[str]:
    lines = [printable(line) for line in text.splitlines() if line.strip()]
    return lines if len(lines) <= _MOST_MESSAGE else [*lines[: _MOST_MESSAGE - 1], "…"]


def _frames(section: list[str], folder: Path) -> Iterator[str]:
    found: list[str] = []
    for number, line in enumerate(section):
        if (match := _FRAME.fullmatch(line)) is not None:
            code = section[number + 1].strip() if number + 1 < len(section) else ""
            is_code = code and not _FRAME.fullmatch(section[number + 1]) and not _MARKS.fullmatch(code)
            place = f"{shown_path(match['file'], folder)}:{match['line']} in {match['name']}"
            found.append(printable(f"{place}: {code}" if is_code else place))
    yield from reversed(found[-_MOST_FRAMES:])
    if (more := len(found) - _MOST_FRAMES) > 0:
        yield f"… {more} more"
