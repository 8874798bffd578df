"""What the worker processes of a contender tell: that they are up, when their first task began, when the last ended.

A folder of files in memory, one for each process, and one that is locked until all may go.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SLOT = struct.Struct("<Qdd")  # tasks done, the first began, the last ended; seconds of the system's monotonic clock
_GATE = "gate"


class Page:
    """A worker process's own. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._done, self._begun = 0, 0.0

    def check_in(self) -> None:
        """Say that this process is up, and block until the gate opens."""
        with (self._folder / f"{os.getpid()}.slot").open("w+b") as file:
            file.write(_SLOT.pack(0, 0.0, 0.0))
            file.flush()
            self._slot = mmap.mmap(file.fileno(), _SLOT.size)
        with (self._folder / _GATE).open() as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)

    def began(self) -> None:
        if not self._begun:
            self._begun = time.monotonic()

    def ended(self) -> None:
        with self._lock:
            self._done += 1
            _SLOT.pack_into(self._slot, 0, self._done, self._begun, time.monotonic())


@contextmanager
def shut_gate(folder: Path) -> Iterator[None]:
    """No process passes `check_in` within."""
    with (folder / _GATE).open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Tally:
    """All slots of a folder, summed up."""

    processes: int
    done: int
    begun: float
    ended: float

    @classmethod
    def of(cls, folder: Path) -> Tally:
        slots = [_SLOT.unpack(path.read_bytes()) for path in folder.glob("*.slot") if path.stat().st_size == _SLOT.size]
        busy = [slot for slot in slots if slot[0]]
        begun = min((slot[1] for slot in busy), default=0.0)
        return cls(len(slots), sum(slot[0] for slot in busy), begun, max((slot[2] for slot in busy), default=0.0))
