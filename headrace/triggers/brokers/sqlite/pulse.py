"""The pulse: a file that stays locked as long as a member lives, so that its death is known at once.

`<run>/<member>.live` is a FIFO, locked by `flock` and open for writing in its member alone; nothing is ever written to
it. When the member dies, however it dies, the kernel drops the lock, which tells those who probe it, and closes the
FIFO, which wakes those who watch it (see `vigil`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Self

from headrace.triggers.brokers.sqlite.place import not_writable

_SUFFIX = ".live"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Pulse:
    """One member's. It is not there for others before it is locked."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file

    def __repr__(self) -> str:
        return f"<Pulse {self.path.name}: {'beating' if self._file >= 0 else 'ended'}>"

    @classmethod
    def begin(cls, folder: Path, member: str) -> Self:
        """Begin to live. Raises `BrokerError` if the folder cannot be written to."""
        path = path_of(folder, member)
        try:
            return cls(path, _made(path))
        except OSError as error:
            raise not_writable(path, error) from error

    def renew(self) -> None:
        """See that the file is there; somebody may have cleared the folder. What cannot be mended is left so."""
        if self._file >= 0 and not _is_at(self._file, self.path):
            with suppress(OSError):
                fresh = _made(self.path)
                os.close(self._file)
                self._file = fresh

    def end(self, *, unlink: bool) -> None:
        """Cease to live. With its file left behind it is known to be dead; without, nobody is to look for it."""
        if self._file >= 0:
            if unlink:
                with suppress(OSError):
                    self.path.unlink()
            os.close(self._file)
            self._file = -1


def path_of(folder: Path, member: str) -> Path:
    """Where a member's pulse is."""
    return folder / f"{member}{_SUFFIX}"


def is_dead(folder: Path, member: str) -> bool:
    """Whether that member has certainly died. False if it cannot be told: then its session has to run out."""
    try:
        file = os.open(path_of(folder, member), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_unlocked(file)
    finally:
        os.close(file)


def sweep(folder: Path, known: Collection[str]) -> None:
    """Remove what the dead left behind, but for `known` members: their peers have yet to find them dead."""
    with suppress(OSError):
        for path in [*folder.glob(f"*{_SUFFIX}")]:
            if path.stem not in known:
                with suppress(OSError):
                    _remove_if_dead(path)


@cache
def boot_id() -> str:
    """Which boot this is; empty where the system does not tell."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


def _made(path: Path) -> int:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        return _locked(path, os.mkfifo)
    except OSError:  # no FIFOs here, or none that can be locked: a plain file serves, it only wakes nobody
        return _locked(path, Path.touch)


def _locked(path: Path, make: Callable[[Path], None]) -> int:
    fresh = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    make(fresh)
    file = os.open(fresh, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(path)
    except BaseException:
        os.close(file)
        raise
    return file


def _is_unlocked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who probe at once do not mislead each other
    except OSError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        there, ours = path.stat(), os.fstat(file)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _remove_if_dead(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if _is_unlocked(file) and _is_at(file, path):  # locked by us now: nobody can begin to live in it
            path.unlink()
    finally:
        os.close(file)
