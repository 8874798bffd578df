"""Delayed delivery, as one client does it: what has waited until its time enters its topic.

Every client that has the log open looks at the next time that is due; the turnstile decides who comes first, and the
others find nothing.
"""

from __future__ import annotations

import asyncio
import time

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite import delayed
from headrace.triggers.brokers.sqlite.reader import Reader
from headrace.triggers.brokers.sqlite.transaction import Transaction
from headrace.triggers.brokers.sqlite.writer import Writer

# How soon one sees, at the latest, what another process put there unheard, and that the clock was set.
_NET = 1.0


class Promoter:
    """Brings what is due into its topic, as long as it is not closed. Used on the loop."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._closed = False
        self._timer = self._loop.call_later(0, self.look)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "asleep" if self._task is None else "looking"
        return f"<Promoter: {state}>"

    def look(self) -> None:
        """Something may be due, or due sooner than was known."""
        self._again = True
        if self._task is None and not self._closed:
            self._timer.cancel()
            self._task = self._loop.create_task(self._work(), name="headrace-promoter")

    async def close(self) -> None:
        """Promote no more."""
        self._closed = True
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        seconds = _NET
        try:
            while self._again:
                self._again = False
                seconds = await self._promote()
        except BrokerError:
            pass  # the next append will tell it to somebody who can do something about it
        finally:
            self._task = None
            if not self._closed:
                self._timer = self._loop.call_later(seconds, self.look)

    async def _promote(self) -> float:
        """Promote all that is due; how many seconds to sleep."""
        while (due := await self._reader.do(delayed.next_due)) is not None:
            if (early := due - time.time_ns() // 1_000_000) > 0:
                return min(_NET, early / 1000)
            await self._writer.do(_promote)
        return _NET


def _promote(transaction: Transaction) -> None:
    transaction.admit(delayed.take(transaction.execute, transaction.now_ms))
