"""Libraries: whether this process has more than one SQLite, and the log open in another one.

POSIX locks belong to a process and a file: when one library closes the file, the locks of the other are gone, and two
processes write at once. It can be seen only at the moment of opening; what opens the file later is not found out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from headrace.functions.errors import BrokerError

_MAPS = Path("/proc/self/maps")
_FILES = Path("/proc/self/fd")

# Shared libraries, and extension modules that have one of their own inside.
_SHARED = re.compile(r"/libsqlite3[^/]*\.(so|dylib)[^/]*$")
_WITHIN = re.compile(r"/(apsw|pysqlite3|sqlcipher3|pysqlcipher3|sqlean)[^/]*/[^/]*\.so$|/libsqlcipher[^/]*\.so[^/]*$")

_ours: Counter[Path] = Counter()


def others_mapped() -> list[str]:
    """The SQLite libraries in this process beside that of Python's own module, as far as their names tell."""
    try:
        lines = _MAPS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []  # no such file on this system: nothing to tell by
    paths = list(dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if line.count("/")))
    shared = [path for path in paths if _SHARED.search(path)]
    # Python's module is linked to one of the shared ones as a rule, by its plain name.
    own = next((path for path in shared if "/libsqlite3.so" in path), None)
    return [path for path in paths if path != own and (path in shared or _WITHIN.search(path))]


def entered(path: Path) -> None:
    """The log at `path` is about to be opened. Raises `BrokerError` if another library here has it open."""
    if not _ours[path] and (others := others_mapped()) and _is_open(path):
        raise BrokerError(
            f"{path} is open in this process through another SQLite library ({others[0]}), and two of them break each "
            "other's locks: close it there first, or use that library in another process"
        )
    _ours[path] += 1


def left(path: Path) -> None:
    """The log at `path` is closed again."""
    _ours[path] -= 1


def _is_open(path: Path) -> bool:
    try:
        return any(_target(link) == str(path) for link in _FILES.iterdir())
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115  (text is what is compared)
    except OSError:
        return ""
