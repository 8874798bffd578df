"""The vigil: wakes a member when one of its peers dies, at once and without looking."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from headrace.triggers.brokers.sqlite.pulse import path_of


class Vigil:
    """Watches the pulses of some members; calls `ended` when one of them ends. It is a hint, and may come wrongly.

    A pulse that cannot be watched is not: those who beat probe it all the same.
    """

    def __init__(self, folder: Path, ended: Callable[[], None]) -> None:
        self._folder = folder
        self._ended = ended
        self._files: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Vigil over {len(self._files)} members>"

    def watch(self, members: Collection[str]) -> None:
        """Watch these, and no others."""
        for member in [*self._files]:
            if member not in members:
                self._drop(member)
        for member in members:
            if member not in self._files:
                self._add(member)

    def close(self) -> None:
        """Watch nobody any more."""
        self.watch(())

    def _add(self, member: str) -> None:
        try:
            file = os.open(path_of(self._folder, member), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self._loop.add_reader(file, self._on_end, member)
        except OSError:  # not a FIFO: somebody put a plain file there
            os.close(file)
        else:
            self._files[member] = file

    def _on_end(self, member: str) -> None:
        # Nobody has it open for writing any more. If the member lives and made itself another, the next beat finds it.
        self._drop(member)
        self._ended()

    def _drop(self, member: str) -> None:
        file = self._files.pop(member)
        with suppress(RuntimeError, ValueError):
            self._loop.remove_reader(file)
        os.close(file)
