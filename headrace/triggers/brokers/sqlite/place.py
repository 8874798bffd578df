"""Where a log may lie: checked before the first byte is written, because WAL on a network disk loses data silently."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import stat
from pathlib import Path

from headrace.functions.errors import BrokerError

# WAL keeps its index in memory shared by all processes: they must run on one kernel, and its locks must be real.
_SHARED_BY_KERNELS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "fuse.sshfs"}
# What the kernel makes up: there are no files in it but its own.
_OF_THE_KERNEL = {
    *("proc", "sysfs", "cgroup", "cgroup2", "devpts", "debugfs", "tracefs", "securityfs", "configfs", "pstore", "bpf"),
    *("mqueue", "efivarfs", "fusectl", "binfmt_misc", "nsfs", "selinuxfs", "rpc_pipefs", "autofs"),
}
_OLDEST = (3, 37)
_MOUNTS = Path("/proc/self/mountinfo")
_ELSEWHERE = "choose another place with --broker sqlite:PATH or HEADRACE_BROKER"
_ESCAPE = re.compile(r"\\([0-7]{3})")


def check(path: Path) -> None:
    """Make the directory of `path` if need be; raise `BrokerError` with a remedy if a log cannot lie there."""
    if sqlite3.sqlite_version_info < _OLDEST:
        raise BrokerError(
            f"the embedded log needs SQLite 3.37 or newer, and this Python has {sqlite3.sqlite_version}: "
            "use a newer Python build"
        )
    try:
        _check_path(path)
    except OSError as error:  # a directory above it may not even be looked into
        raise not_writable(path, error) from error


def look(path: Path) -> str:
    """The type of the filesystem on which a log at `path` lies or would, touching nothing; empty if it is not known.

    Raises `BrokerError` with a remedy if a log cannot lie there.
    """
    try:
        _check_kind(path)
        there = next(one for one in (path, *path.parents) if _mode(one) is not None)
        _check_filesystem(there)
    except OSError as error:
        raise not_writable(path, error) from error
    if not os.access(there, os.R_OK | os.W_OK):
        raise not_writable(there)
    try:
        return filesystem_of(there.resolve(), _MOUNTS.read_text("utf-8", "surrogateescape"))
    except OSError:
        return ""


def not_writable(path: Path, why: OSError | None = None, remedy: str = _ELSEWHERE) -> BrokerError:
    """The refusal of a place this process may not write to; `remedy` is how to name another."""
    if _is_read_only(path, why):
        return BrokerError(f"{path} lies on a filesystem that is mounted read-only: mount it for writing, or {remedy}")
    if why is not None and why.errno == errno.ENAMETOOLONG:
        return BrokerError(f"the path {str(path)[:60]}… is too long for a file ({why.strerror}): {remedy}")
    reason = f" ({why.strerror})" if why else ""
    return BrokerError(f"{path} is not writable for this user{reason}: change its owner or mode, or {remedy}")


def _is_read_only(path: Path, why: OSError | None) -> bool:
    if why is not None:
        return why.errno == errno.EROFS
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def filesystem_of(path: Path, mounts: str) -> str:
    """The type of the filesystem `path` (absolute, without links) lies on, by the text of a `mountinfo` file.

    Format: proc(5), /proc/pid/mountinfo. Of several mounts at one point the last one counts. Empty if none matches.
    """
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        if len(point.parts) >= longest and path.is_relative_to(point):
            found, longest = after.split(" ")[0], len(point.parts)
    return found


def filesystem_at(path: Path) -> str:
    """The type of the filesystem `path` lies on; empty where the system does not tell."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
    return filesystem_of(path.resolve(), mounts)


def can_damage(version: tuple[int, ...]) -> bool:
    """Whether an SQLite of this version has the "WAL reset" bug (see `turnstile`)."""
    backports = ((3, 44, 6), (3, 50, 7))
    is_backported = any(version[:2] == fixed[:2] and version >= fixed for fixed in backports)
    return (3, 7, 0) <= version < (3, 51, 3) and not is_backported


def _check_path(path: Path) -> None:
    _check_kind(path)
    _check_filesystem(path)
    # The folder of the default log is nobody else's business: events may hold anything.
    path.parent.mkdir(mode=0o700 if path.parent.name == ".headrace" else 0o777, parents=True, exist_ok=True)
    for found in (path.parent, path):
        if _mode(found) is not None and not os.access(found, os.R_OK | os.W_OK):
            raise not_writable(found)


def _check_kind(path: Path) -> None:
    mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise BrokerError(f"{path} is a directory: name a file in it, for example sqlite:{path / 'log.db'}")
    if mode is not None and not stat.S_ISREG(mode):
        raise BrokerError(f"{path} is a device, a pipe or a socket, and a log is a file: {_ELSEWHERE}")
    above = next((one, mode) for one in path.absolute().parents if (mode := _mode(one)) is not None)
    if not stat.S_ISDIR(above[1]):
        raise BrokerError(f"{above[0]} is not a folder, so that no log can lie in it: {_ELSEWHERE}")


def _mode(path: Path) -> int | None:
    """Its type and permissions; None if nothing is there. Raises `OSError` if that cannot be told.

    `Path.exists` and its like take every error for nothing from Python 3.14 on.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_filesystem(path: Path) -> None:
    kind = filesystem_at(path)
    if kind in _OF_THE_KERNEL:
        raise BrokerError(
            f"{path} lies on a filesystem of the kernel's own ({kind}), which keeps no files: choose a place on a disk"
            ", for example --broker sqlite:/var/tmp/headrace/log.db"
        )
    if kind in _SHARED_BY_KERNELS:
        raise BrokerError(
            f"{path} lies on a network or shared filesystem ({kind}), where SQLite's locks do not hold and a log would "
            "be damaged: put it on a local disk, for example --broker sqlite:/var/tmp/headrace/log.db"
        )
