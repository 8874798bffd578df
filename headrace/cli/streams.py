"""The three streams a command begins with: one may be closed, take no more, or know fewer letters than there are."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

_NAMES = ("stdin", "stdout", "stderr")


class _Output(io.TextIOWrapper):
    """A stream that, after a write failed, keeps why, and drops all that comes later."""

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        if text == "":  # click tries so whether it can write, and takes a failure for a no
            return 0
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        # What it holds back would be tried again when the interpreter ends, which then complains.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self.fileno())
        os.close(null)
        raise error


class _Talk(_Output):
    """One that nobody is told of if it fails: there is nowhere to tell it, and what runs goes on."""

    def _lose(self, error: OSError) -> None:
        with suppress(OSError):
            super()._lose(error)


def prepare() -> None:
    """Make the streams of this process such that a command can count on them; called once, before all else.

    For a closed one stands `/dev/null`: nothing else may get its number, nor find it missing. What an encoding cannot
    write, as half a surrogate pair in UTF-8, is written as an escape.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no text are refused, or kept, like arguments
    sys.stdout = _taken_over(sys.stdout, _Output)
    sys.stderr = _taken_over(sys.stderr, _Talk)


def lost() -> OSError | None:
    """Why stdout could not be written to; None if it could."""
    return sys.stdout.lost if isinstance(sys.stdout, _Output) else None


def _taken_over(stream: Any, kind: type[_Output]) -> _Output:
    stream.flush()
    return kind(
        stream.detach(),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
