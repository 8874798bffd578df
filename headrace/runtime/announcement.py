"""Announcements: starts that are written down before they happen, while a partition is careful (see `custody`)."""

from __future__ import annotations

from headrace.runtime.progress import Progress


class Announcement:
    """The announced start of one partition, kept in its progress; each change is to be settled."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._durable: int | None = None

    def is_durable(self, offset: int) -> bool:
        """Whether the start of this event is written down: it may happen."""
        return self._durable == offset

    def is_pending(self, offset: int) -> bool:
        """Whether the start of this event is being written down."""
        return self._progress.custody.started == offset and self._durable != offset

    def make(self, offset: int) -> bool:
        """Announce the start of this event; whether that changed anything."""
        if self._progress.custody.started == offset:
            return False
        self._progress.custody = self._progress.custody._replace(started=offset)
        return True

    def withdraw(self) -> bool:
        """An event came back, so none is to start as announced; whether that changed anything."""
        if self._progress.custody.started is None:
            return False
        self._progress.custody = self._progress.custody._replace(started=None)
        self._durable = None
        return True

    def settled(self) -> None:
        """What is announced is durable."""
        self._durable = self._progress.custody.started

    def __repr__(self) -> str:
        return f"<Announcement of {self._progress.custody.started}, {self._durable} is durable>"
