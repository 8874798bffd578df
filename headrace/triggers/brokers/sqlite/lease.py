"""The lease: at most one live process serves a group. The kernel drops it when that process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Self
from urllib.parse import quote

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite.place import not_writable


class Lease:
    """An exclusive `flock` on `<directory>/<group>.member`, which holds the pid and host of its holder.

    The file stays when the lease ends: unlinking it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file

    def __repr__(self) -> str:
        return f"<Lease {self.path.name}: {'held' if self._file >= 0 else 'released'}>"

    @classmethod
    def take(cls, directory: Path, group: str) -> Self:
        """Take the lease of `group`, at once. Raises `BrokerError` naming the process that has it."""
        path = directory / f"{quote(group, safe='')}.member"
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise not_writable(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 300, 0).decode("utf-8", "replace") or "another process"
            os.close(file)
            raise BrokerError(
                f"group {group!r} is already served by {holder}: stop that one first, "
                "or set another app name (HEADRACE_APP) to handle all events a second time"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        return cls(path, file)

    def release(self) -> None:
        """Let another take it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
