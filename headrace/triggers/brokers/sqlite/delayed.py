"""Delayed delivery: records that wait in a table until their time, then enter their topic.

Taken out and appended in one transaction, so exactly once, whoever does it. Every client that has the log open looks
at the next time that is due; the turnstile decides who comes first, and the others find nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Append, Delayed

if TYPE_CHECKING:
    from headrace.triggers.brokers.sqlite.reader import Reader
    from headrace.triggers.brokers.sqlite.transaction import Transaction
    from headrace.triggers.brokers.sqlite.writer import Writer

# How soon one sees, at the latest, what another process put there unheard, and that the clock was set.
_NET = 1.0

_NUMBERS = """
INSERT INTO meta(k, v) VALUES ('delayed', ?) ON CONFLICT(k) DO UPDATE SET v = v + excluded.v RETURNING v
"""
_HOLD = """
INSERT INTO delayed(due, seq, topic, p, ts, k, v, h)
VALUES (?, ?, (SELECT id FROM topic WHERE name = ?), ?, ?, ?, ?, ?)
"""
_TAKE = """
DELETE FROM delayed WHERE (due, seq) IN (SELECT due, seq FROM delayed WHERE due <= ? ORDER BY due, seq LIMIT 500)
RETURNING due, seq, (SELECT name FROM topic WHERE topic.id = delayed.topic), p, ts, k, v, h
"""
_WAITING = "SELECT count(*), min(due) FROM delayed WHERE topic IN (SELECT id FROM topic WHERE name IN ({}))"
_NEXT = "SELECT due FROM delayed ORDER BY due LIMIT 1"


def hold(connection: sqlite3.Connection, appends: Sequence[Append]) -> None:
    """Put these where they wait for their time. Within a transaction."""
    ((last,),) = connection.execute(_NUMBERS, (len(appends),)).fetchall()
    rows = [
        (one.not_before_ms, number, one.topic, one.partition, one.timestamp, one.key, one.value, one.headers)
        for number, one in enumerate(appends, start=last - len(appends))
    ]
    connection.executemany(_HOLD, rows)


def next_due(connection: sqlite3.Connection) -> int | None:
    """When the next one is due, in milliseconds since 1970."""
    row = connection.execute(_NEXT).fetchone()
    return row and int(row[0])


def waiting(connection: sqlite3.Connection, topics: Collection[str]) -> Delayed:
    """What waits to enter these topics."""
    marks = ", ".join("?" * len(topics))
    ((count, due),) = connection.execute(_WAITING.format(marks), tuple(topics)).fetchall()
    return Delayed(count, due)


def promote(transaction: Transaction) -> None:
    """Append what is due, 500 at most, in the order it is due. What waits for a topic that was deleted is gone too."""
    rows = transaction.execute(_TAKE, (transaction.now_ms,)).fetchall()
    rows.sort(key=lambda row: row[:2])  # RETURNING has no order
    transaction.admit([Append(*row[2:]) for row in rows if row[2] is not None])


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
        while (due := await self._reader.do(next_due)) is not None:
            if (early := due - time.time_ns() // 1_000_000) > 0:
                return min(_NET, early / 1000)
            await self._writer.do(promote)
        return _NET
