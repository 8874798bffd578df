"""The watch: tells those who wait that something was committed.

Commits of this process ring at once. Those of others are seen by `PRAGMA data_version` (about 8 microseconds), looked
at only while somebody waits: every 2 ms after activity, then ever more rarely up to every 25 ms. A bell is a hint:
who hears it looks again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from weakref import WeakSet

from headrace.functions.errors import BrokerUnavailable

_SOON = 0.002
_SELDOM = 0.025


class Watch:
    """Rings bells after commits of any process. Used on the loop alone, the connection too."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._bells: WeakSet[asyncio.Event] = WeakSet()
        self._waiting = 0
        self._interval = _SOON
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._seen = self._version()

    def __repr__(self) -> str:
        return f"<Watch: {'closed' if self._closed else 'open'}, {self._waiting} waiting>"

    def bell(self) -> asyncio.Event:
        """A bell of one's own, set at each commit. To miss none: clear it, look, and only then wait for it."""
        bell = asyncio.Event()
        self._bells.add(bell)
        return bell

    async def wait(self, bell: asyncio.Event, timeout: float) -> None:
        """Until `bell` is set, or `timeout` seconds. Raises `BrokerUnavailable` if the log is closed."""
        self._check()
        self._waiting += 1
        self._look()
        self._arm()
        try:
            async with asyncio.timeout(timeout):
                await bell.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        self._check()

    def committed(self) -> None:
        """Ring for a commit of this process."""
        if not self._closed:
            self._seen = self._version()  # what others committed until now is seen by those who are woken now
            self._ring()

    def close(self) -> None:
        """Wake everybody, for good."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for bell in self._bells:
            bell.set()

    def _check(self) -> None:
        if self._closed:
            raise BrokerUnavailable("the log was closed while waiting for records")

    def _arm(self) -> None:
        if self._timer is None and self._waiting and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._look()
        self._arm()

    def _look(self) -> None:
        version = self._version()
        if version != self._seen:
            self._seen = version
            self._ring()
        else:
            self._interval = min(self._interval * 2, _SELDOM)

    def _ring(self) -> None:
        self._interval = _SOON
        for bell in self._bells:
            bell.set()

    def _version(self) -> int:
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return -1  # busy for a moment, or broken: whoever is woken finds out
        return int(version)
