"""What handlers write down of themselves: a line when they begin, and one when they are about to end."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PREAMBLE = """
import os, time
from pydantic import BaseModel
from headrace import Context, Reject, Retry, function

NOTES = os.open("NOTES_FILE", os.O_WRONLY | os.O_APPEND)

def note(what: str, n: int, ctx: Context) -> None:
    os.write(NOTES, f"{what} {n} {ctx.attempt} {os.getpid()}\\n".encode())

def wait_at(gate: str) -> None:
    if not os.path.exists(gate + ".open"):
        open(gate).readline()

class Order(BaseModel):
    n: int

class EmailSent(BaseModel):
    n: int
    attempt: int
"""


class Note(NamedTuple):
    """One line."""

    what: str
    n: int
    attempt: int
    worker: int


class Notes:
    """The file they write to."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def __repr__(self) -> str:
        return f"<Notes in {self._file}: {len(self.all())}>"

    def source(self, functions: str) -> str:
        """The source of functions that write here."""
        return PREAMBLE.replace("NOTES_FILE", str(self._file)) + functions

    def all(self) -> list[Note]:
        """In the order they were written."""
        text = self._file.read_text()
        fields = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [Note(what, int(n), int(attempt), int(worker)) for what, n, attempt, worker in fields]

    def starts(self) -> list[Note]:
        """The lines of beginnings."""
        return [note for note in self.all() if note.what == "start"]

    def attempts(self) -> Counter[tuple[int, int]]:
        """How often each order was started as which attempt."""
        return Counter((note.n, note.attempt) for note in self.starts())

    def begun(self) -> set[int]:
        """The orders that were started."""
        return {note.n for note in self.starts()}

    def running(self, workers: list[int]) -> set[int]:
        """The orders that one of these workers has begun and not ended."""
        last = {note.worker: note for note in self.all() if note.worker in workers}
        return {note.n for note in last.values() if note.what == "start"}


class Gate:
    """What a handler waits at with `wait_at`, until it is opened for good."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR)  # for both: whoever opens it finds somebody

    def __repr__(self) -> str:
        return f"<Gate {self.path}>"

    def open(self) -> None:
        """Let the one that waits pass, and all that come later."""
        self.path.with_name(self.path.name + ".open").touch()
        os.write(self._end, b"open\n")
