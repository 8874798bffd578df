"""Users: the processes that have a log open, as far as this user may see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROCESSES = Path("/proc")
_LONGEST = 60


class User(NamedTuple):
    """A process, and how it was called."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def users_of(path: Path) -> list[User]:
    """The other processes that have the log at `path` (absolute, without links) open. None are known without /proc."""
    lock = f"{path}.lock"
    found = [pid for pid in _pids() if pid != os.getpid() and lock in _files(pid)]
    return [User(pid, _command(pid)) for pid in sorted(found)]


def _pids() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdigit())


def _files(pid: int) -> Iterator[str]:
    with suppress(OSError):  # another user's, or gone
        for link in (_PROCESSES / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield os.readlink(link)  # noqa: PTH115  (text is what is compared)


def _command(pid: int) -> str:
    try:
        words = (_PROCESSES / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return "ended"
    text = " ".join(word for word in words if word)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
