"""Delayed delivery, as one client does it: what has waited until its time enters its topic."""

from __future__ import annotations

from collections.abc import Callable

from headrace.runtime.ports import Clock
from headrace.triggers.brokers.memory.disk import Disk

_AWHILE = 1.0


class Promoter:
    """Promotes on time by `clock`, as long as it is not closed; not while `is_frozen`."""

    def __init__(self, disk: Disk, clock: Clock, is_frozen: Callable[[], bool]) -> None:
        self._disk = disk
        self._clock = clock
        self._is_frozen = is_frozen
        self._due: int | None = None
        self._cancel: Callable[[], None] = lambda: None
        disk.watchers[self] = self._arm
        self._arm()

    def close(self) -> None:
        """Promote no more."""
        self._disk.watchers.pop(self, None)
        self._cancel()

    def _arm(self) -> None:
        due = self._disk.delayed[0][0] if self._disk.delayed else None
        if due != self._due:
            self._due = due
            self._cancel()
            if due is not None:
                self._set((due - self._clock.now_ms()) / 1000)

    def _set(self, seconds: float) -> None:
        self._cancel = self._clock.call_at(self._clock.monotonic() + max(0.0, seconds), self._ring)

    def _ring(self) -> None:
        if self._is_frozen():
            self._set(_AWHILE)
            return
        self._due = None
        self._disk.promote(self._clock.now_ms())
        self._arm()

    def __repr__(self) -> str:
        return f"<Promoter: {'nothing waits' if self._due is None else f'next at {self._due} ms'}>"
