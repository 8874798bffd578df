"""Retention: what is too old, or too much for its topic, is deleted from the front of its partition.

As Kafka does, it asks no group. What it takes from one that had not handled it is counted as that group's loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from headrace.runtime.ports import TopicSpec
from headrace.runtime.progress import BadProgress, Progress
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.conf import spec_of
from headrace.triggers.brokers.sqlite.schema import OFFSET_BITS, OFFSET_MASK

ROWS = 500
"""The most records one transaction deletes."""

SIZE = "coalesce(length(k), 0) + coalesce(length(v), 0) + length(h)"
"""What a record counts for in `part.bytes`, in SQL."""

_STORES = """
SELECT tp, name, p, start, next, bytes, parts, conf FROM part JOIN topic ON topic = topic.id ORDER BY name, p
"""
_AGE = "SELECT ats FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
_FIRST = f"SELECT id, ats, {SIZE} FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT {ROWS}"  # noqa: S608
_TRIM = "UPDATE part SET start = ?, bytes = bytes - ? WHERE tp = ?"


class Store(NamedTuple):
    """A partition as it is stored. `start` to `end` are offsets; `tp` is its number in the file."""

    tp: int
    topic: str
    number: int
    start: int
    end: int
    bytes: int
    spec: TopicSpec

    @property
    def base(self) -> int:
        """The id that offset 0 has, or would have."""
        return self.tp << OFFSET_BITS


class Loss(NamedTuple):
    """Records that went before a group had handled them."""

    group: str
    topic: str
    partition: int
    records: int


class Trimmed(NamedTuple):
    """What was deleted."""

    records: int = 0
    bytes: int = 0
    losses: Sequence[Loss] = ()


class _Cut(NamedTuple):
    offsets: list[int]
    bytes: int
    start: int
    is_last: bool


def stores(bench: Bench) -> list[Store]:
    """All partitions."""
    return [
        Store(tp, name, number, start, end, size, spec_of(name, parts, conf))
        for tp, name, number, start, end, size, parts, conf in bench.read(_STORES)
    ]


def is_overdue(bench: Bench, store: Store, now_ms: int) -> bool:
    """Whether there is something to delete, by a look that costs next to nothing."""
    if "delete" not in store.spec.cleanup or store.start == store.end:
        return False
    if store.spec.retention_bytes is not None and store.bytes > store.spec.retention_bytes:
        return True
    if store.spec.retention_ms is None:
        return False
    first = bench.read(_AGE, (store.base + store.start, store.base + store.end))
    return bool(first) and first[0][0] < now_ms - store.spec.retention_ms


def trim(bench: Bench, store: Store, now_ms: int, tell: Callable[[int], None] = lambda _: None) -> Trimmed:
    """Delete what the topic's settings do not keep; `tell` is called with the records deleted by each slice.

    By size the newest record stays, however large it is: else a topic could lose events as they come.
    """
    records = size = 0
    losses: dict[str, int] = {}
    while True:
        with bench.slice() as connection:
            cut = _cut(connection, store, now_ms)
            if cut.offsets:
                for group, lost in _delete(connection, store, cut):
                    losses[group] = losses.get(group, 0) + lost
        records, size = records + len(cut.offsets), size + cut.bytes
        tell(len(cut.offsets))
        if cut.is_last:
            found = [Loss(group, store.topic, store.number, lost) for group, lost in losses.items()]
            return Trimmed(records, size, found)


def _cut(connection: sqlite3.Connection, store: Store, now_ms: int) -> _Cut:
    spec, base = store.spec, store.base
    row = connection.execute("SELECT start, next, bytes FROM part WHERE tp = ?", (store.tp,)).fetchone()
    if row is None:  # the topic was deleted meanwhile
        return _Cut([], 0, 0, is_last=True)
    start, end, size = row
    rows = connection.execute(_FIRST, (base + start, base + end)).fetchall()
    oldest = -1 if spec.retention_ms is None else now_ms - spec.retention_ms
    excess = 0 if spec.retention_bytes is None else size - spec.retention_bytes
    doomed: list[int] = []
    freed = 0
    for id_, ats, bytes_ in rows:
        offset = id_ & OFFSET_MASK
        if ats >= oldest and not (freed < excess and offset < end - 1):
            break
        doomed.append(offset)
        freed += bytes_
    return _Cut(doomed, freed, doomed[-1] + 1 if doomed else start, is_last=len(doomed) < ROWS)


def _delete(connection: sqlite3.Connection, store: Store, cut: _Cut) -> Iterable[tuple[str, int]]:
    base = store.base
    connection.execute("DELETE FROM record WHERE id >= ? AND id < ?", (base, base + cut.start))
    connection.execute(_TRIM, (cut.start, cut.bytes, store.tp))
    behind = connection.execute(
        "SELECT grp, off, meta FROM coff WHERE tp = ? AND off < ?", (store.tp, cut.start)
    ).fetchall()
    lost = [(group, _unhandled(cut.offsets, watermark, progress)) for group, watermark, progress in behind]
    connection.executemany(
        "UPDATE coff SET lost = lost + ? WHERE grp = ? AND tp = ?", [(n, group, store.tp) for group, n in lost if n]
    )
    return [(group, n) for group, n in lost if n]


def _unhandled(offsets: Sequence[int], watermark: int, progress: bytes) -> int:
    # Progress is the runtime's own account and no business of a log. It is read here for the sake of an honest count:
    # behind one event that waits for its next attempt there may be thousands that are done.
    try:
        known = Progress.restore(watermark, progress)
    except BadProgress:
        known = Progress(watermark)
    return sum(not known.was_done(offset) for offset in offsets)


def range_of(tp: int) -> tuple[int, int]:
    """The ids of a partition's records: the first there could be, and the one after the last."""
    return tp << OFFSET_BITS, (tp + 1) << OFFSET_BITS
