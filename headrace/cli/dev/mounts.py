"""Mounts: file systems that change without this kernel being told, so that nobody can be notified."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_MUTE = frozenset({"9p", "afs", "cifs", "ceph", "nfs", "nfs4", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"})


def without_notifications(folders: Iterable[str]) -> str | None:
    """The type of the file system of the first of these folders whose changes may go unnoticed; None if all tell."""
    try:
        mounts = _read(_MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return None
    return next((kind for folder in folders if _is_mute(kind := kind_at(Path(folder), mounts))), None)


def kind_at(folder: Path, mounts: dict[str, str]) -> str:
    """The type of the file system a folder is on; of `mounts` by place, the nearest above it says it."""
    resolved = folder.resolve()
    return next((mounts[str(place)] for place in (resolved, *resolved.parents) if str(place) in mounts), "")


def _read(text: str) -> dict[str, str]:
    """File system types by place: fields 5 and, after the dash, 1 of each line (proc_pid_mountinfo(5))."""
    mounts = {}
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        if dash and len(fields := before.split(" ")) > 4:
            place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
            mounts[place] = after.split(" ")[0]
    return mounts


def _is_mute(kind: str) -> bool:
    return kind in _MUTE or kind.startswith("fuse.")
