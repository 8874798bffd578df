"""Doorbells: one FIFO for each process that listens, which writers ring after a commit.

A ring is a hint and nothing else: whoever hears one looks, and looks now and then without (see `watch`). So whatever
goes wrong with a FIFO is passed over. `COMMIT` says that something was committed, `HELD` that some of it waits for its
time, perhaps a nearer one than was known.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from headrace.functions.identity import fresh_id

COMMIT = b"c"
HELD = b"h"

_SUFFIX = ".bell"
_MOST = 1 << 16  # what a FIFO holds
# A directory's mtime is as coarse as the kernel's tick: two changes within one have the same.
_TICK_NS = 50_000_000


class Doorbell:
    """A FIFO of this process's own, open for reading. Made by `hang`; `file` is its descriptor, for the event loop."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file

    def __repr__(self) -> str:
        return f"<Doorbell {self.path.name}: {'taken down' if self.file < 0 else 'hanging'}>"

    @classmethod
    def hang(cls, directory: Path, name: str) -> Self | None:
        """A new one; None where there can be no FIFO."""
        path = directory / f"{name}{_SUFFIX}"
        hidden = path.with_suffix(".new")  # a FIFO that nobody reads yet would be taken for a dead process's
        file = -1
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            os.mkfifo(hidden, 0o600)
            file = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # also for writing: never at its end
            hidden.rename(path)
        except OSError:
            if file >= 0:
                os.close(file)
            with suppress(OSError):
                hidden.unlink()
            return None
        return cls(path, file)

    def hear(self) -> bytes:
        """What was rung since the last time."""
        with suppress(OSError):
            return os.read(self.file, _MOST)
        return b""

    def hangs(self) -> bool:
        """Whether writers can still find it."""
        with suppress(OSError):
            return os.stat(self.path).st_ino == os.fstat(self.file).st_ino  # noqa: PTH116  (four times a second)
        return False

    def take_down(self) -> None:
        """Listen no more."""
        if self.file >= 0:
            with suppress(OSError):
                if self.hangs():
                    self.path.unlink()
            os.close(self.file)
            self.file = -1


class Ringer:
    """Rings the bells in `directory`, but `own`, that of its own process. Used from one thread."""

    def __init__(self, directory: Path, own: str = "") -> None:
        self._directory = directory
        self._own = f"{own}{_SUFFIX}"
        self._files: dict[str, int] = {}
        self._seen = -1

    def __repr__(self) -> str:
        return f"<Ringer of {len(self._files)} bells in {self._directory}>"

    def ring(self, what: bytes = COMMIT) -> None:
        """Ring all bells there are."""
        try:
            changed = os.stat(self._directory).st_mtime_ns  # noqa: PTH116  (once per commit)
        except OSError:
            changed = -1
        if changed != self._seen:
            self._scan(changed)
        for name, file in list(self._files.items()):
            self._ring(name, file, what)

    def close(self) -> None:
        """Ring no more."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _ring(self, name: str, file: int, what: bytes) -> None:
        try:
            os.write(file, what)
        except BlockingIOError:
            pass  # full: it was rung, and not yet heard
        except OSError:  # nobody listens any more
            self._drop(name)
            with suppress(OSError):
                (self._directory / name).unlink()

    def _scan(self, changed: int) -> None:
        names = self._names() if changed >= 0 else set()
        for name in self._files.keys() - names:
            self._drop(name)
        for name in names - self._files.keys():
            self._open(name)
        # What changes within this tick would not show: then it is scanned once more at the next ring.
        self._seen = changed if time.time_ns() - changed > _TICK_NS else -1

    def _names(self) -> set[str]:
        with suppress(OSError):
            return {name for name in os.listdir(self._directory) if name.endswith(_SUFFIX) and name != self._own}  # noqa: PTH208
        return set()

    def _open(self, name: str) -> None:
        path = self._directory / name
        try:
            self._files[name] = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:  # its process is dead
                with suppress(OSError):
                    path.unlink()

    def _drop(self, name: str) -> None:
        with suppress(OSError):
            os.close(self._files.pop(name))


def bell_name() -> str:
    """A name for a doorbell, which no other has."""
    return f"{os.getpid()}-{fresh_id()}"
