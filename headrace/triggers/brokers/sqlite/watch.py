"""The watch: tells those who wait that something was committed.

Commits of this process ring at once, those of others by a doorbell (see `bells`), which hangs from the first wait on.
A bell is a hint: who hears it looks again. Beneath it is a net, `PRAGMA data_version` (about 8 microseconds), looked at
while somebody waits: four times a second; without a doorbell 5 ms after activity, then ever more rarely up to every
50 ms.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from weakref import ref

from headrace.functions.errors import BrokerUnavailable
from headrace.triggers.brokers.sqlite.bells import COMMIT, HELD, Doorbell

_NET = 0.25
_SOON = 0.005
_SELDOM = 0.05
_HANG_AGAIN = 5.0


class Watch:
    """Rings bells after commits of any process. Used on the loop alone, the connection too.

    `name` is that of its doorbell in `directory`, `held` is called when something waits for its time that did not.
    """

    def __init__(
        self, connection: sqlite3.Connection, directory: Path, name: str, held: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self._directory = directory
        self._name = name
        self._held = held
        self._bells: dict[int, ref[asyncio.Event]] = {}  # a WeakSet is slower to go through
        self._doorbell: Doorbell | None = None
        self._hang_at = 0.0
        self._listening = False
        self._waiting = 0
        self._interval = _SOON
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._seen = self._version()

    def __repr__(self) -> str:
        how = "with" if self._doorbell else "without"
        return f"<Watch: {'closed' if self._closed else 'open'}, {self._waiting} waiting, {how} a doorbell>"

    def bell(self) -> asyncio.Event:
        """A bell of one's own, set at each commit. To miss none: clear it, look, and only then wait for it."""
        bell, bells = asyncio.Event(), self._bells
        number = id(bell)
        bells[number] = ref(bell, lambda _: bells.pop(number, None))
        return bell

    async def wait(self, bell: asyncio.Event, timeout: float) -> None:
        """Until `bell` is set, after `timeout` seconds too. Raises `BrokerUnavailable` if the log is closed."""
        self._check()
        self._waiting += 1
        if self._listen() or self._doorbell is None:
            self._look()
        self._arm()
        alarm = self._loop.call_later(timeout, bell.set)
        try:
            await bell.wait()
        finally:
            alarm.cancel()
            self._waiting -= 1
        self._check()

    def committed(self, news: bytes = COMMIT) -> None:
        """Ring for a commit of this process."""
        if not self._closed:
            self._tell(news)

    def close(self) -> None:
        """Wake everybody, for good."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._take_down()
        self._ring()

    def _check(self) -> None:
        if self._closed:
            raise BrokerUnavailable("the log was closed while waiting for records")

    # -- the doorbell ---------------------------------------------------------------------------------------------

    def _listen(self) -> bool:
        """Have the doorbell heard; whether it was only hung now, so that whoever rang before was not."""
        if is_new := self._doorbell is None and self._loop.time() >= self._hang_at:
            self._hang_at = self._loop.time() + _HANG_AGAIN
            self._doorbell = Doorbell.hang(self._directory, self._name)
            self._interval = _SOON if self._doorbell is None else _NET
        if self._doorbell is not None and not self._listening:
            self._loop.add_reader(self._doorbell.file, self._hear)
            self._listening = True
        return is_new

    def _hear(self) -> None:
        if self._doorbell is None:
            return
        if not self._waiting:  # while nobody waits there is nothing to wake the loop for; what is rung stays in it
            self._ignore()
            return
        self._tell(self._doorbell.hear())

    def _ignore(self) -> None:
        if self._doorbell is not None and self._listening:
            self._loop.remove_reader(self._doorbell.file)
            self._listening = False

    def _take_down(self) -> None:
        self._ignore()
        if self._doorbell is not None:
            self._doorbell.take_down()
            self._doorbell = None

    # -- the net --------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is None and self._waiting and not self._closed:
            self._timer = self._loop.call_later(self._interval, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._waiting:
            if self._doorbell is not None and not self._doorbell.hangs():  # the folder was cleaned up, or is gone
                self._take_down()
            self._listen()
            self._look()
        self._arm()

    def _look(self) -> None:
        version = self._version()
        if version != self._seen:
            self._seen = version
            self._tell(COMMIT)
        elif self._doorbell is None:
            self._interval = min(self._interval * 2, _SELDOM)

    def _tell(self, news: bytes) -> None:
        if self._doorbell is None:
            self._seen = self._version()  # what others committed until now is seen by those who are woken now
        # With a doorbell that would be a seventh of the way from a commit to its reader: the net wakes once too often.
        self._interval = _SOON if self._doorbell is None else _NET
        self._ring()
        if HELD in news:
            self._held()

    def _ring(self) -> None:
        for known in list(self._bells.values()):
            if (bell := known()) is not None:
                bell.set()

    def _version(self) -> int:
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return -1  # busy for a moment, or broken: whoever is woken finds out
        return int(version)
