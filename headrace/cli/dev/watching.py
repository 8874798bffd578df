"""Watching: what changes in a scope, told within a few milliseconds, by watchfiles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from watchfiles import Change, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from headrace.cli.dev.mounts import without_notifications
from headrace.cli.dev.scope import Kind, Mark, Scope, mark_of

_STEP_MS = 10  # a change is told once nothing more has come for one to two of these
_DEBOUNCE_MS = 50  # and after this, whatever comes
_POLL_MS = 300
_MISSING_S = 0.25


Watcher = Callable[..., AsyncGenerator[set[tuple[Change, str]], None]]
"""`watchfiles.awatch`, as far as it is used here."""


class Watching:
    """Tells `on_change` of files that are not as they were when this was made; `notice` of what it cannot do."""

    def __init__(
        self,
        scope: Scope,
        on_change: Callable[[set[Kind]], None],
        notice: Callable[[str], None],
        *,
        watcher: Watcher = awatch,
    ) -> None:
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        self.on_change = on_change
        self._scope = scope
        self._notice = notice
        self._watcher = watcher
        self._marks: dict[str, Mark] = scope.marks()
        self._polls = False
        self._told_cut = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            if not self._scope.root.is_dir():  # a checkout takes it away and brings it back
                self._compare()
                await asyncio.sleep(_MISSING_S)
                continue
            folders = self._scope.folders()
            self._look_at(folders)
            try:
                await self._watch(folders)
            except FileNotFoundError:  # gone since we looked
                await asyncio.sleep(_MISSING_S)
            except (OSError, WatchfilesRustInternalError) as error:
                if self._polls:
                    raise
                self._poll(f"files cannot be watched ({error})")

    async def _watch(self, folders: Sequence[str]) -> None:
        """Watch these folders until they are not all there are any more."""
        watched, moved = set(folders), True
        changing = self._watcher(
            *folders,
            watch_filter=None,
            recursive=False,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            force_polling=self._polls or None,
            poll_delay_ms=_POLL_MS,
            ignore_permission_denied=True,
        )
        async with aclosing(changing) as told:
            following = asyncio.ensure_future(anext(told))
            try:
                await asyncio.sleep(0)  # the watch is set in the first step of the task, so nothing is missed from here
                self._compare()
                while not moved or set(self._scope.folders()) == watched:
                    changes = {path for _, path in await following}
                    following = asyncio.ensure_future(anext(told))
                    self._take(changes)
                    moved = any(path in watched or self._scope.is_folder(path) for path in changes)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    def _look_at(self, folders: Sequence[str]) -> None:
        if self._scope.cut and not self._told_cut:
            self._told_cut = True
            self._notice(f"{self._scope.root} has more folders than are watched: changes in some will not be seen")
        if not self._polls and (kind := without_notifications(folders)) is not None:
            self._poll(f"a file system of type {kind} tells nobody of changes")

    def _poll(self, why: str) -> None:
        self._polls = True
        self._notice(f"{why}: looking every {_POLL_MS} ms instead")

    def _compare(self) -> None:
        """Tell what has changed while nobody watched."""
        marks = self._scope.marks()
        changed = {path for path in marks.keys() | self._marks.keys() if marks.get(path) != self._marks.get(path)}
        self._marks = marks
        self._tell({kind for path in changed if (kind := self._scope.kind(path)) is not None})

    def _take(self, changes: set[str]) -> None:
        kinds: set[Kind] = set()
        for path in changes:
            kind = self._scope.kind(path)
            if kind is Kind.INSTALLED or (kind is not None and self._is_news(path)):
                kinds.add(kind)
        self._tell(kinds)

    def _is_news(self, path: str) -> bool:
        """Whether the file is another than when it was last looked at: one save is told in several events."""
        mark = mark_of(path)
        if mark == self._marks.get(path):
            return False
        if mark is None:
            del self._marks[path]
        else:
            self._marks[path] = mark
        return True

    def _tell(self, kinds: set[Kind]) -> None:
        if kinds:
            self.on_change(kinds)

    def __repr__(self) -> str:
        return f"<Watching {self._scope!r}, {len(self._marks)} files{', by polling' if self._polls else ''}>"
