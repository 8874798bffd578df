"""Consumer groups: who owns which partition, and since which epoch.

Each claim raises the epoch of what it takes, so that settlements of an earlier owner are fenced. In this version one
member at a time serves a group (see `lease`), and claims all partitions.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from headrace.runtime.ports import Assigned, Bounds
from headrace.triggers.brokers.refusal import unknown_topic
from headrace.triggers.brokers.sqlite.transaction import Transaction

_CLAIM = """
INSERT INTO own(grp, tp, owner, wanted, epoch) VALUES (?1, ?2, ?3, ?3, 1)
ON CONFLICT(grp, tp) DO UPDATE SET owner = ?3, wanted = ?3, epoch = epoch + 1
RETURNING epoch
"""
_PARTS = """
SELECT part.tp, p, start, next, off, coalesce(meta, x'') FROM part JOIN topic ON topic = topic.id
LEFT JOIN coff ON coff.tp = part.tp AND grp = ? WHERE name = ? ORDER BY p
"""


def claim(transaction: Transaction, group: str, topics: Sequence[str], owner: str) -> dict[int, Assigned]:
    """Give `owner` every partition of `topics`, by `tp`. Raises `UnknownTopic`, having changed nothing."""
    assigned = extend(transaction, group, topics, owner)
    transaction.execute(
        "INSERT INTO grp(name, gen) VALUES (?, 1) ON CONFLICT(name) DO UPDATE SET gen = gen + 1", (group,)
    )
    transaction.execute("DELETE FROM member WHERE grp = ?", (group,))
    transaction.execute(
        "INSERT INTO member(grp, id, beat, session, host, pid) VALUES (?, ?, ?, 0, ?, ?)",
        (group, owner, transaction.now_ms, socket.gethostname(), os.getpid()),
    )
    return assigned


def extend(transaction: Transaction, group: str, topics: Sequence[str], owner: str) -> dict[int, Assigned]:
    """Give `owner` every partition of further `topics`, by `tp`. Raises `UnknownTopic`, having changed nothing."""
    found = [(topic, row) for topic in topics for row in _parts(transaction, group, topic)]
    return {row[0]: _take(transaction, group, owner, topic, row) for topic, row in found}


def give_up(transaction: Transaction, group: str, owner: str, tps: Sequence[int]) -> None:
    """Give up those partitions that `owner` still owns."""
    for tp in tps:
        transaction.execute(
            "UPDATE own SET owner = NULL, wanted = NULL WHERE grp = ? AND owner = ? AND tp = ?", (group, owner, tp)
        )


def release(transaction: Transaction, group: str, owner: str) -> None:
    """Give up all that `owner` still owns."""
    transaction.execute("UPDATE own SET owner = NULL, wanted = NULL WHERE grp = ? AND owner = ?", (group, owner))
    transaction.execute("DELETE FROM member WHERE grp = ? AND id = ?", (group, owner))


_Row = tuple[int, int, int, int, int | None, bytes]


def _parts(transaction: Transaction, group: str, topic: str) -> list[_Row]:
    rows = transaction.execute(_PARTS, (group, topic)).fetchall()
    if not rows:
        raise unknown_topic(topic, (name for (name,) in transaction.execute("SELECT name FROM topic")))
    return rows


def _take(transaction: Transaction, group: str, owner: str, topic: str, row: _Row) -> Assigned:
    tp, partition, start, end, watermark, progress = row
    ((epoch,),) = transaction.execute(_CLAIM, (group, tp, owner)).fetchall()
    return Assigned((topic, partition), epoch, watermark, progress, Bounds(start, end))
