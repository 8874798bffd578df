"""The scope of `headrace dev`: which folders are watched, and which files in them are code or settings.

Folders are found by walking, and each is watched by itself: hidden ones, virtual environments and caches, which hold
most of what changes and nothing that is loaded, are never looked at, and the embedded log's neither.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

MOST_FOLDERS = 5000
_CODE = (".py", ".so")
_SETTINGS = ("headrace.toml", "pyproject.toml")
_NEVER = frozenset({"__pycache__", "node_modules"})

Mark = tuple[int, int, int]
"""When a file was written, its size and its number: another one, other content."""


class Kind(Enum):
    """What a change means."""

    CODE = "code"
    SETTINGS = "settings"
    INSTALLED = "what is installed"


class Scope:
    """`root` is the folder user code is imported from, `here` the working folder, `installed` where packages go.

    `never` are folders that are not to be watched whatever lies there.
    """

    def __init__(
        self, root: Path, here: Path, *, never: Iterable[Path] = (), installed: Iterable[Path] | None = None
    ) -> None:
        self.root = root
        self.cut = False  # whether there are more folders than are watched
        self._here = here
        self._never = frozenset(identity for path in never if (identity := _identity(str(path))) is not None)
        found = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")} if installed is None else installed
        self._installed = frozenset(path for path in found if path.is_dir())

    def folders(self) -> list[str]:
        """The folders to watch now, each without those below it."""
        code = [folder for folder, _ in self._walk()]
        self.cut = len(code) >= MOST_FOLDERS
        return [*code, *(str(path) for path in (self._here, *sorted(self._installed)) if str(path) not in code)]

    def marks(self) -> dict[str, Mark]:
        """The mark of each file of code and settings there is."""
        files = [entry for _, entries in self._walk() for entry in entries if self._is_code(entry.name)]
        named = [self._here / name for name in _SETTINGS]
        paths = [*(entry.path for entry in files), *map(str, named)]
        return {path: mark for path in paths if (mark := mark_of(path)) is not None}

    def kind(self, path: str) -> Kind | None:
        """What a change of this path means; None if nothing."""
        folder, name = os.path.split(path)
        if _is_left_out(name) or name.startswith("~"):
            return None
        if name in _SETTINGS and Path(folder) == self._here:
            return Kind.SETTINGS
        if Path(folder) in self._installed:
            return Kind.INSTALLED
        is_ours = folder == str(self.root) or folder.startswith(f"{self.root}{os.sep}")
        return Kind.CODE if is_ours and self._is_code(name) else None

    def _is_code(self, name: str) -> bool:
        return name.endswith(_CODE) and not name.startswith(".")

    def is_folder(self, path: str) -> bool:
        """Whether this is a folder that may hold code, so that the folders have to be looked at again."""
        folder, name = os.path.split(path)
        is_ours = folder == str(self.root) or folder.startswith(f"{self.root}{os.sep}")
        return is_ours and not _is_left_out(name) and Path(path).is_dir()

    def _walk(self) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """The folders that may hold code, each once, with what is in them."""
        seen = set(self._never)
        ahead, found = [str(self.root)], 0
        while ahead and found < MOST_FOLDERS:
            folder = ahead.pop()
            identity = _identity(folder)
            if identity is None or identity in seen:
                continue
            seen.add(identity)
            entries = _entries(folder)
            if found and any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            found += 1
            yield folder, entries
            ahead += [entry.path for entry in entries if not _is_left_out(entry.name) and entry.is_dir()]

    def __repr__(self) -> str:
        return f"<Scope of {self.root}>"


def mark_of(path: str) -> Mark | None:
    """The mark of a file; None if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116  (paths as text, as they come from the watch)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _identity(folder: str) -> tuple[int, int] | None:
    """What tells a folder from all others, whatever links lead to it; None if it is not there."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # gone meanwhile, or not for us to read
        return []


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name in _NEVER
