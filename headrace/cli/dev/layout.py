"""Layout: accounts and talk as lines of text, aligned, for a terminal of some width or for none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from headrace.cli.dev.account import WELL, Account
from headrace.cli.dev.trace import printable, short_trace

OURS = "headrace"  # in the function's column, where headrace speaks
_INDENT = "    "
_AT_ONCE = WELL | {"rejected"}  # what the first attempt settles
_COLOURS = {"done": "green", "skipped": "bright_black", "postponed": "yellow"}
_TONES = {"good": "green", "bad": "red", "warn": "yellow", "": None}
_WIDE = 110
_LONGEST_TYPE = 24
_LONGEST_PLACE = 32
_SHORT_ID = 8


class Layout:
    """`width` is a terminal's, None for no limit. `folder` is what paths are relative to.

    Columns grow as longer names come, so that lines stay aligned with those after them.
    """

    def __init__(self, folder: Path, *, width: int | None, colour: bool) -> None:
        self.width = width
        self._folder = folder
        self._colour = colour
        self._widths = {"function": len(OURS), "place": 8, "event": _SHORT_ID}

    def learn(self, function: str) -> None:
        """Make room for a function's name."""
        self._widths["function"] = max(self._widths["function"], cell_len(function))

    def account(self, account: Account) -> list[str]:
        """The line of an attempt and, if it failed, why."""
        line = self._line(account.at, account.function, self._event_columns(account), self._ended(account))
        if account.failure is None or account.outcome == "postponed":
            return [line]
        first, *more = short_trace(account.failure, self._folder)
        return [line, self._style(self._fit(_INDENT + first), fg="red"), *(self._fit(_INDENT + one) for one in more)]

    def output(self, at: datetime, function: str, text: str, *, mark: str, event: str | None) -> str:
        """What a handler printed or logged, under its name."""
        about = f"  ({short_id(event)})" if event else ""
        colour = {"!": "yellow", "E": "red"}.get(mark)
        head = self._head(at, function)
        return head + self._style(
            self._fit(f"{mark} {printable(text)}{about}", cell_len(click.unstyle(head))), fg=colour
        )

    def notice(self, at: datetime, text: str, *, tone: str = "", function: str = OURS) -> list[str]:
        """What headrace itself has to say, on one line or several."""
        head = self._head(at, function)
        return [
            head + self._style(line, fg=_TONES[tone]) if not number else self._style(_INDENT + line, fg=_TONES[tone])
            for number, line in enumerate(printable(line) for line in text.splitlines())
        ]

    # -- parts --------------------------------------------------------------------------------------------------------

    def _line(self, at: datetime, function: str, columns: str, ended: list[tuple[str, str | None]]) -> str:
        head = self._head(at, function)
        line = head + columns
        room = None if self.width is None else max(8, self.width - cell_len(click.unstyle(line)))
        for text, colour in ended:
            shown = text if room is None or cell_len(text) <= room else set_cell_size(text, room - 1) + "…"
            line += self._style(shown, fg=colour)
            if room is not None:
                room -= cell_len(shown)
                if room <= 1:
                    break
        return line

    def _head(self, at: datetime, function: str) -> str:
        time = at.strftime("%H:%M:%S.%f")[:12] if self._is_wide else at.strftime("%H:%M:%S")
        name = set_cell_size(function, self._widths["function"])
        return f"{self._style(time, dim=True)}  {self._style(name, dim=function == OURS, bold=function != OURS)}  "

    def _event_columns(self, account: Account) -> str:
        place = self._column("place", f"{account.topic}/{account.partition}@{account.offset}", _LONGEST_PLACE)
        spent = _duration(account.spent_ms).rjust(8)
        if not self._is_wide:
            return f"{place}  {spent}  "
        type_ = printable(account.type or "-")
        id_ = "" if account.id == f"{account.topic}/{account.partition}/{account.offset}" else short_id(account.id)
        event = self._column("event", f"{type_} {id_}".rstrip(), _LONGEST_TYPE + _SHORT_ID + 1)
        return f"{place}  {event}  {spent}  "

    def _column(self, name: str, text: str, longest: int) -> str:
        width = self._widths[name] = min(longest, max(self._widths[name], cell_len(text)))
        return text if cell_len(text) > width and self.width is None else set_cell_size(text, width)

    def _ended(self, account: Account) -> list[tuple[str, str | None]]:
        """How it ended, in pieces with their colours; what comes first is left out last."""
        colour = _COLOURS.get(account.outcome, "red")
        pieces: list[tuple[str, str | None]] = [(account.outcome.replace("-", " "), colour)]
        if account.why:
            pieces.append((f": {printable(account.why)}", None))
        if account.attempt > 1 or account.outcome not in _AT_ONCE:
            pieces.append((f" {account.attempt}/{max(account.attempt, account.attempts)}", None))
        if account.then == "again":
            pieces.append((f" -> again in {_seconds(account.again_s or 0.0)}", "yellow"))
        elif account.then:
            pieces.append((f" -> {account.then}", "red"))
        if account.emits:
            pieces.append((f"  -> {_emits(account)}", "cyan"))
        return pieces

    def _fit(self, text: str, used: int = 0) -> str:
        room = None if self.width is None else max(8, self.width - used)
        return text if room is None or cell_len(text) <= room else set_cell_size(text, room - 1) + "…"

    def _style(self, text: str, **how: Any) -> str:
        return click.style(text, **how) if self._colour and text else text

    @property
    def _is_wide(self) -> bool:
        return self.width is None or self.width >= _WIDE

    def __repr__(self) -> str:
        return f"<Layout for {self.width or 'any number of'} columns>"


def short_id(id_: str) -> str:
    """As much of an event's id as tells it from others on a screen."""
    return printable(id_[:_SHORT_ID])


def folded(counted: Mapping[tuple[str, str], int]) -> str:
    """What was only counted: `1,240 more done, 3 failed (confirm_order 1,243)`. Keys are outcome and function."""
    words = {word: sum(n for (of, _), n in counted.items() if of == word) for word, _ in counted}
    names = {name: sum(n for (_, of), n in counted.items() if of == name) for _, name in counted}
    told = ", ".join(f"{n:,} {'more ' if not i else ''}{word}" for i, (word, n) in enumerate(words.items()))
    return f"… {told} ({', '.join(f'{name} {n:,}' for name, n in names.items())})"


def _emits(account: Account) -> str:
    return ", ".join(
        printable(" ".join(part for part in (topic, type_, f"x{count}" if count > 1 else "") if part))
        for (topic, type_), count in account.emitted.items()
    )


def _duration(spent_ms: float | None) -> str:
    if spent_ms is None:
        return "-"
    return (
        f"{spent_ms:.1f} ms"
        if spent_ms < 100
        else f"{spent_ms:,.0f} ms"
        if spent_ms < 10_000
        else _seconds(spent_ms / 1000)
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
