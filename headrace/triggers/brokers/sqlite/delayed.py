"""Delayed delivery: the table where records wait until their time. The `promoter` brings them into their topic then."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence

from headrace.runtime.ports import Append, Delayed

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


def take(execute: Callable[[str, Sequence[int]], sqlite3.Cursor], now_ms: int) -> list[Append]:
    """Take out what is due, 500 at most, in the order it is due. What waits for a topic that was deleted goes too.

    Within a transaction, which appends them: so each enters its topic once, whoever brings it there.
    """
    rows = execute(_TAKE, (now_ms,)).fetchall()
    rows.sort(key=lambda row: row[:2])  # RETURNING has no order
    return [Append(*row[2:]) for row in rows if row[2] is not None]


def next_due(connection: sqlite3.Connection) -> int | None:
    """When the next one is due, in milliseconds since 1970."""
    row = connection.execute(_NEXT).fetchone()
    return row and int(row[0])


def waiting(connection: sqlite3.Connection, topics: Collection[str]) -> Delayed:
    """What waits to enter these topics."""
    marks = ", ".join("?" * len(topics))
    ((count, due),) = connection.execute(_WAITING.format(marks), tuple(topics)).fetchall()
    return Delayed(count, due)
