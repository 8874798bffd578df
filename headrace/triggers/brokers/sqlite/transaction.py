"""One write transaction: what several callers asked for, gathered, checked, and written together.

Fences and topics are checked before a caller's rows are gathered, so its refusal leaves the others' rows alone. Rows
are written by `flush`, with one statement for each kind. All is computed here from what the transaction read, which
nobody else can change before its end.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.functions.partition import partition_of
from headrace.runtime.ports import Append, Position, Settlement, Ticket, TopicSpec
from headrace.triggers.brokers.refusal import check_append, fenced, no_partition, unknown_topic
from headrace.triggers.brokers.sqlite import delayed
from headrace.triggers.brokers.sqlite.conf import spec_of
from headrace.triggers.brokers.sqlite.producers import Answers
from headrace.triggers.brokers.sqlite.schema import OFFSET_BITS

_INSERT = "INSERT INTO record(id, ats, ts, k, v, h) VALUES (?, ?, ?, ?, ?, ?)"
_PARTS = "SELECT tp, next, last_ats, conf FROM part JOIN topic ON topic = id WHERE name = ? ORDER BY p"
_GROW = "UPDATE part SET next = ?, bytes = bytes + ?, last_ats = ? WHERE tp = ?"
_OWN = "SELECT owner, epoch FROM own WHERE grp = ? AND tp = ?"
_SETTLED = "SELECT off, meta FROM coff WHERE grp = ? AND tp = ?"
_PROGRESS = """
INSERT INTO coff(grp, tp, off, meta, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT(grp, tp) DO UPDATE SET off = excluded.off, meta = excluded.meta, at = excluded.at
"""


@dataclass(slots=True)
class Tail:
    """Where a partition ends, and what this transaction adds to it. Mutable: it grows with each record."""

    tp: int
    next: int
    ats: int
    bytes: int = 0


class Transaction:
    """What is gathered since BEGIN. `turns` (topic: count) outlives it and spreads records without a key.

    `holds`: whether some of it waits for its time.

    A method that raises `BrokerError` has gathered nothing.
    """

    def __init__(self, connection: sqlite3.Connection, turns: dict[str, int]) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.holds = False
        self._connection = connection
        self._answers = Answers(connection, self.now_ms)
        self._held: list[Append] = []
        self._turns = turns
        self._tails: dict[str, list[Tail]] = {}
        self._choosy: dict[str, TopicSpec | None] = {}  # the settings of topics that do not take every record
        self._grown: dict[int, Tail] = {}
        self._owners: dict[tuple[str, int], tuple[str | None, int]] = {}
        self._rows: list[tuple[int, int, int, bytes | None, bytes | None, bytes]] = []
        self._progress: dict[tuple[str, int], tuple[str, int, int, bytes, int]] = {}

    def __repr__(self) -> str:
        return f"<Transaction: {len(self._rows)} records and {len(self._progress)} settlements gathered>"

    def append(self, appends: Sequence[Append], ticket: Ticket | None = None) -> list[Position]:
        """Gather these records; where each will be. Those of a `ticket` that was used before are there already.

        Raises `UnknownTopic`, `BrokerError` for a partition not there.
        """
        if ticket is not None and (answer := self._answers.given(ticket)) is not None:
            return answer
        partitions = [self._partition(append) for append in appends]
        positions = [self._add(append, partition) for append, partition in zip(appends, partitions, strict=True)]
        if ticket is not None:
            self._answers.keep(ticket, positions)
        return positions

    def admit(self, appends: Sequence[Append]) -> None:
        """Gather records that were accepted before, whatever their topics' settings are by now."""
        for append in appends:
            self._add(append, self._choose(append, len(self._topic(append.topic))))

    def settle(self, settlement: Settlement, owner: str | None) -> None:
        """Gather a settlement of `owner`, the member it comes from. Raises `Fenced`, and what `append` raises."""
        topic, partition = settlement.partition
        tails = self._topic(topic)
        tp = tails[partition].tp if 0 <= partition < len(tails) else -1
        self._check(settlement, tp, owner)
        key = (settlement.group, tp)
        if self._has(settlement, key):
            return  # it was written, and its acknowledgement lost
        self.append(settlement.appends)
        self._progress[key] = (*key, settlement.watermark, settlement.progress, self.now_ms)

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement after all that was gathered; for what is rare."""
        self.flush()
        self._owners.clear()
        self._tails.clear()
        return self._connection.execute(statement, values)

    def flush(self) -> None:
        """Write what was gathered."""
        if self._rows:
            self._connection.executemany(_INSERT, self._rows)
            grown = [(tail.next, tail.bytes, tail.ats, tail.tp) for tail in self._grown.values()]
            self._connection.executemany(_GROW, grown)
            self._rows.clear()
            self._grown.clear()
            self._tails.clear()
        if self._progress:
            self._connection.executemany(_PROGRESS, self._progress.values())
            self._progress.clear()
        if self._held:
            delayed.hold(self._connection, self._held)
            self._held.clear()
        self._answers.flush()

    def _topic(self, name: str) -> list[Tail]:
        if tails := self._tails.get(name):
            return tails
        rows = self._connection.execute(_PARTS, (name,)).fetchall()
        tails = [Tail(tp, after, ats) for tp, after, ats, _ in rows]
        if not tails:
            raise unknown_topic(name, (other for (other,) in self._connection.execute("SELECT name FROM topic")))
        self._tails[name] = tails
        spec = spec_of(name, len(tails), rows[0][3])
        self._choosy[name] = spec if spec.max_bytes is not None or "compact" in spec.cleanup else None
        return tails

    def _partition(self, append: Append) -> int:
        count = len(self._topic(append.topic))
        if (spec := self._choosy[append.topic]) is not None:
            check_append(append, spec)
        if append.partition >= count:
            raise no_partition(append.topic, append.partition, count)
        return self._choose(append, count)

    def _choose(self, append: Append, count: int) -> int:
        if append.partition >= 0:
            return append.partition
        if append.key is not None:
            return partition_of(append.key, count)
        # Begun anywhere, so that many short-lived producers do not all begin at partition 0.
        turn = self._turns.get(append.topic, time.time_ns() >> 10)
        self._turns[append.topic] = turn + 1
        return turn % count

    def _add(self, append: Append, partition: int) -> Position:
        if append.not_before_ms > self.now_ms:
            self.holds = True
            self._held.append(append)
            return Position(append.topic, append.partition, -1)
        tail = self._tails[append.topic][partition]
        if tail.tp not in self._grown:
            self._grown[tail.tp] = tail
            tail.ats = max(tail.ats, self.now_ms)
        offset, key, value = tail.next, append.key, append.value
        self._rows.append((tail.tp << OFFSET_BITS | offset, tail.ats, append.timestamp, key, value, append.headers))
        tail.next = offset + 1
        tail.bytes += len(key or b"") + len(value or b"") + len(append.headers)
        return Position(append.topic, partition, offset)

    def _has(self, settlement: Settlement, key: tuple[str, int]) -> bool:
        """Whether this settlement was the last of its partition: no two that append anything have equal progress."""
        if (gathered := self._progress.get(key)) is not None:
            last: tuple[int, bytes] | None = gathered[2:4]
        else:
            last = self._connection.execute(_SETTLED, key).fetchone()
        return last == (settlement.watermark, settlement.progress)

    def _check(self, settlement: Settlement, tp: int, owner: str | None) -> None:
        key = (settlement.group, tp)
        if key not in self._owners:
            self._owners[key] = self._connection.execute(_OWN, key).fetchone() or (None, 0)
        current, epoch = self._owners[key]
        if owner is None or current != owner or epoch != settlement.epoch:
            raise fenced(settlement, epoch)
