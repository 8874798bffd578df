"""Waiting, as one client does it: for a write by anybody, or for its clock."""

from __future__ import annotations

import asyncio

from headrace.runtime.ports import Clock
from headrace.triggers.brokers.memory.disk import Disk


class Watch:
    """Wakes those who wait. Being woken is a hint: who is looks again."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self._waiting: dict[asyncio.Event, None] = {}  # in the order they came, and woken in it
        self._disk.watchers[self] = self.ring

    async def change(self, seen: int, timeout: float) -> None:
        """Until the disk's version is not `seen`, somebody rings, or `timeout` seconds."""
        if self._disk.version == seen:
            await self._wait(timeout)

    async def pass_time(self, seconds: float) -> None:
        """Until `seconds` later, or this is closed."""
        until = self._clock.monotonic() + seconds
        while self in self._disk.watchers and (left := until - self._clock.monotonic()) > 0:
            await self._wait(left)

    def ring(self) -> None:
        """Wake everybody."""
        for event in self._waiting:
            event.set()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self._disk.watchers.pop(self, None)
        self.ring()

    async def _wait(self, timeout: float) -> None:
        event = asyncio.Event()
        cancel = self._clock.call_at(self._clock.monotonic() + timeout, event.set)
        self._waiting[event] = None
        try:
            await event.wait()
        finally:
            del self._waiting[event]
            cancel()

    def __repr__(self) -> str:
        return f"<Watch: {len(self._waiting)} waiting>"
