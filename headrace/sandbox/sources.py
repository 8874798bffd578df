"""Sources: the user's modules byte for byte as they were imported.

A file can change between the moment it is imported and the moment its fingerprint is taken, and Python takes the
bytecode of a file that changed within a second, and not in size, for its own. So user code is read through a loader
that keeps what it read and trusts only bytecode that is younger than its source.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from importlib.util import cache_from_source
from types import CodeType
from typing import Any

from headrace.sandbox.usercode import UserCode


class Sources:
    """What the modules of one target were imported from. Made before the first of them is."""

    def __init__(self, user_code: UserCode) -> None:
        self.read: dict[str, bytes] = {}
        self._user_code = user_code

    def install(self) -> None:
        """Have what is imported from the target's folders read through a loader of its own."""
        loader: Any = self.loader
        finder = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (loader, SOURCE_SUFFIXES))

        def hook(folder: str) -> Any:
            if not self._covers(folder):
                raise ImportError("a folder of no user code", path=folder)
            return finder(folder)

        sys.path_hooks.insert(0, hook)
        for folder in [folder for folder in sys.path_importer_cache if self._covers(folder)]:
            del sys.path_importer_cache[folder]

    def loader(self, name: str, path: str) -> SourceFileLoader:
        """A loader of the module `name` in the file at `path`."""
        return _Loader(name, path, self.read)

    def _covers(self, folder: str) -> bool:
        return self._user_code.covers(os.path.join(folder, ""))  # noqa: PTH118  (keeps the slash at the end)

    def __repr__(self) -> str:
        return f"<Sources: {len(self.read)} files read>"


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, read: dict[str, bytes]) -> None:
        super().__init__(name, path)
        self._read = read

    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        if self.path not in self._read:  # its bytecode was taken
            self.get_data(self.path)
        return code

    def get_data(self, path: str) -> bytes:
        data = super().get_data(path)
        if path == self.path:
            self._read[str(path)] = data
        return data

    def path_stats(self, path: str) -> Any:
        """Raises `OSError`, upon which the source is compiled, where bytecode may be of the file as it was before."""
        written_ns = os.stat(cache_from_source(path)).st_mtime_ns  # noqa: PTH116  (for each module)
        if written_ns <= os.stat(path).st_mtime_ns:  # noqa: PTH116
            raise OSError("bytecode that is older than its source")
        return super().path_stats(path)
