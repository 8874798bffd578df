"""Which files are the user's: what a stack shows, and what the code's fingerprint covers."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARIES = tuple(
    {os.path.join(path, "") for path in map(sysconfig.get_path, ("stdlib", "platstdlib"))}  # noqa: PTH118
    | {f"{Path(__file__).resolve().parents[1]}/"}
)


class UserCode:
    """The code of one target: what lies under `root` and is not installed there, and the target's own `files`."""

    def __init__(self, root: str, files: Iterable[str] = ()) -> None:
        self._root = os.path.join(root, "")  # noqa: PTH118  (paths as text: this runs for each frame of a stack)
        self._files = set(files)

    def add(self, files: Iterable[str]) -> None:
        """Modules of the target itself, wherever they are."""
        self._files.update(files)

    def covers(self, file: str) -> bool:
        """Whether `file` is of the target."""
        if file in self._files:
            return True
        if not file.startswith(self._root):
            return False
        return _INSTALLED.isdisjoint(file[len(self._root) :].split("/")) and not self._is_headrace(file)

    def is_users(self, file: str) -> bool:
        """Whether a frame in `file` is worth showing: of the target, or at least of no library."""
        if self.covers(file):
            return True
        return not file.startswith(("<", *_LIBRARIES)) and _INSTALLED.isdisjoint(file.split("/"))

    def fingerprint(self, modules: Iterable[ModuleType | None], read: Mapping[str, bytes]) -> str:
        """32 hex digits over the names of the target's modules among `modules`, and their bytes, by file as `read`."""
        files = sorted({file for module in modules if (file := file_of(module)) is not None and self.covers(file)})
        digest = blake2b(digest_size=16)
        for file in files:
            source = Path(file).read_bytes() if (known := read.get(file)) is None else known
            for part in (os.path.relpath(file, self._root).encode("utf-8", "surrogateescape"), source):
                digest.update(len(part).to_bytes(8, "big"))
                digest.update(part)
        return digest.hexdigest()

    def _is_headrace(self, file: str) -> bool:
        return file.startswith(_LIBRARIES) and not self._root.startswith(_LIBRARIES)

    def __repr__(self) -> str:
        return f"<UserCode under {self._root} and {len(self._files)} files>"


def file_of(module: ModuleType | None) -> str | None:
    """The source file of a module, None if it has none."""
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else None


def loaded() -> list[ModuleType | None]:
    """All modules imported so far."""
    return list(sys.modules.values())
