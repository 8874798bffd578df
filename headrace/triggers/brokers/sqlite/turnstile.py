"""The turnstile: one process at a time writes, checkpoints, opens or closes the log, in the order they came.

Two reasons, neither of them SQLite's own lock. SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when one connection
commits while another checkpoints (the "WAL reset" bug, fixed in 3.51.3), and SQLite's busy handler starves: of several
busy processes one gets nearly all. The kernel's queue on a `flock` is fair, and released at death.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.functions.errors import BrokerUnavailable
from headrace.triggers.brokers.sqlite.failure import translated
from headrace.triggers.brokers.sqlite.place import not_writable


class Turnstile:
    """An exclusive lock over all processes that share a log; entered with `with`, from one thread at a time.

    `flock` belongs to the open file: two threads that share this object do not exclude each other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise not_writable(path, error) from error

    def __repr__(self) -> str:
        return f"<Turnstile {self.path}: {'closed' if self._file < 0 else 'open'}>"

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """The same, but `BrokerUnavailable` after `seconds`. For opening and closing, where nobody queues."""
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while not self._try():
            if time.monotonic() > deadline:
                raise self.stuck(seconds)
            pause.wait(0.002)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    @classmethod
    @contextmanager
    def opening(cls, log: Path, seconds: float) -> Iterator[Self]:
        """The turnstile of the log at `log`, within its turn, to open that log in; closed again if that fails.

        Raises `BrokerError` for what SQLite cannot open.
        """
        turnstile = cls(log.with_name(f"{log.name}.lock"))
        try:
            with turnstile.within(seconds):
                yield turnstile
        except BaseException as error:
            turnstile.close()
            if isinstance(error, sqlite3.Error):
                raise translated(error, log) from error
            raise

    def stuck(self, seconds: float) -> BrokerUnavailable:
        """The error for a turn that did not come."""
        return BrokerUnavailable(
            f"no turn to write for {seconds:g} s: another process holds {self.path} "
            f"(is it stopped, or its disk stuck?); `fuser {self.path}` names those that have it open"
        )

    def close(self) -> None:
        """Let go for good."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
