"""Consumer groups in the file: members, and who owns which partition, since which epoch.

Each claim raises the epoch of what it takes, so that settlements of an earlier owner are fenced. What is decided is the
`coordinator`'s; here it is read, and what changed is written, in one transaction.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.runtime.ports import Assigned, Bounds, Partition
from headrace.triggers.brokers.refusal import no_partition, still_served, unknown_topic
from headrace.triggers.brokers.sqlite import coordinator
from headrace.triggers.brokers.sqlite.coordinator import Beat, Seat, Share, Standing, Table
from headrace.triggers.brokers.sqlite.readers import readers
from headrace.triggers.brokers.sqlite.transaction import Transaction

_SEATS = "SELECT id, topics, beat, session, boot FROM member WHERE grp = ? ORDER BY id"
_SHARES = "SELECT tp, epoch, owner, wanted, since FROM own WHERE grp = ?"
_PARTS = "SELECT tp FROM part JOIN topic ON topic = id WHERE name = ? ORDER BY p"
_SIT = """
INSERT INTO member(grp, id, topics, beat, session, boot, host, pid) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(grp, id) DO UPDATE SET topics = excluded.topics, beat = excluded.beat
"""
_OWN = """
INSERT INTO own(grp, tp, epoch, owner, wanted, since) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(grp, tp)
DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner, wanted = excluded.wanted, since = excluded.since
"""
_NEWS = "INSERT INTO grp(name, gen) VALUES (?, 1) ON CONFLICT(name) DO UPDATE SET gen = gen + 1"
_GENERATION = "SELECT gen FROM grp WHERE name = ?"
_HANDED = """
SELECT p, start, next, off, coalesce(meta, x'') FROM part LEFT JOIN coff ON coff.tp = part.tp AND grp = ?
WHERE part.tp = ?
"""
_MOVE = """
INSERT INTO coff(grp, tp, off, meta, at) VALUES (?, ?, ?, x'', ?)
ON CONFLICT(grp, tp) DO UPDATE SET off = excluded.off, meta = excluded.meta, at = excluded.at
"""
_FENCE = "UPDATE own SET owner = NULL, wanted = NULL, epoch = epoch + 1 WHERE grp = ? AND tp = ?"


@dataclass(frozen=True, slots=True)
class Round:
    """What came of a beat: `gained` by number, the other members' ids, and the group's generation, to tell changes by.

    `known` are the members of all groups, for one that comes in.
    """

    standing: Standing
    gained: Mapping[int, Assigned]
    peers: frozenset[str]
    generation: int
    known: frozenset[str]


def beat(
    transaction: Transaction, group: str, said: Beat, now_ms: Callable[[], int], is_dead: Callable[[str], bool]
) -> Round:
    """A member says that it is alive, and takes what is free for it.

    The time is taken here, within the turnstile: no beat that was written before can be later.
    """
    said = replace(said, seat=replace(said.seat, beat_ms=now_ms()))
    table = _load(transaction, group, said.seat)
    before = dict(table.shares)
    standing = coordinator.beat(table, said, is_dead)
    _sit(transaction, group, said.seat)
    _write(transaction, group, standing.gone, before, table.shares)
    if standing.news:
        transaction.execute(_NEWS, (group,))
    gained = {tp: _handed(transaction, group, table.partitions[tp], tp, epoch) for tp, epoch in standing.gained.items()}
    peers = frozenset(table.seats) - {said.seat.id}
    known = transaction.execute("SELECT id FROM member") if standing.returned else ()
    return Round(standing, gained, peers, _generation(transaction.execute, group), frozenset(id_ for (id_,) in known))


def leave(transaction: Transaction, group: str, id: str, now_ms: Callable[[], int]) -> None:  # noqa: A002
    """A member gives up all it has."""
    table = _load(transaction, group)
    before = dict(table.shares)
    coordinator.leave(table, id, now_ms())
    _write(transaction, group, [id], before, table.shares)
    transaction.execute(_NEWS, (group,))


def generation(connection: sqlite3.Connection, group: str) -> int:
    """A number that grows whenever members of the group should look how they stand."""
    return _generation(connection.execute, group)


def require(connection: sqlite3.Connection, topics: Sequence[str]) -> None:
    """Raise `UnknownTopic` if one of them is not there."""
    names = {name for (name,) in connection.execute("SELECT name FROM topic").fetchall()}
    for topic in topics:
        if topic not in names:
            raise unknown_topic(topic, names)


def move(transaction: Transaction, group: str, marks: Mapping[Partition, int], run: Path) -> None:
    """Put other watermarks, with nothing beside them, in place of the group's progress; fences who had it.

    Raises `UnknownTopic`, and `BrokerError` for a partition not there or a group with members, having changed nothing.
    """
    if members := [one.process for one in readers(transaction.execute, run) if one.group == group]:
        raise still_served(group, members)
    tps = _numbers(transaction, marks)
    for partition, watermark in marks.items():
        transaction.execute(_MOVE, (group, tps[partition], watermark, transaction.now_ms))
        transaction.execute(_FENCE, (group, tps[partition]))


def _numbers(transaction: Transaction, partitions: Iterable[Partition]) -> dict[Partition, int]:
    numbers: dict[Partition, int] = {}
    for topic, number in partitions:
        found = transaction.execute(_PARTS, (topic,)).fetchall()
        if not found:
            raise unknown_topic(topic, (name for (name,) in transaction.execute("SELECT name FROM topic")))
        if not 0 <= number < len(found):
            raise no_partition(topic, number, len(found))
        numbers[topic, number] = found[number][0]
    return numbers


def _load(transaction: Transaction, group: str, newcomer: Seat | None = None) -> Table:
    seats = {
        id_: Seat(id_, tuple(json.loads(topics)), beat_ms, session_ms, boot)
        for id_, topics, beat_ms, session_ms, boot in transaction.execute(_SEATS, (group,)).fetchall()
    }
    shares = {tp: Share(*rest) for tp, *rest in transaction.execute(_SHARES, (group,)).fetchall()}
    everyone = [*seats.values(), *([newcomer] if newcomer else [])]
    topics = sorted({topic for seat in everyone for topic in seat.topics})
    partitions = {tp: topic for topic in topics for (tp,) in transaction.execute(_PARTS, (topic,)).fetchall()}
    return Table(partitions, seats, shares)


def _sit(transaction: Transaction, group: str, seat: Seat) -> None:
    row = (group, seat.id, json.dumps(seat.topics), seat.beat_ms, seat.session_ms, seat.boot)
    transaction.execute(_SIT, (*row, socket.gethostname(), os.getpid()))


def _write(
    transaction: Transaction,
    group: str,
    gone: Iterable[str],
    before: Mapping[int, Share],
    after: Mapping[int, Share],
) -> None:
    for id_ in gone:
        transaction.execute("DELETE FROM member WHERE grp = ? AND id = ?", (group, id_))
    for tp, share in after.items():
        if before.get(tp) != share:
            row = (group, tp, share.epoch, share.owner, share.wanted, share.since_ms)
            transaction.execute(_OWN, row)


def _handed(transaction: Transaction, group: str, topic: str, tp: int, epoch: int) -> Assigned:
    ((number, start, end, watermark, progress),) = transaction.execute(_HANDED, (group, tp)).fetchall()
    return Assigned((topic, number), epoch, watermark, progress, Bounds(start, end))


def _generation(execute: Callable[..., sqlite3.Cursor], group: str) -> int:
    row = execute(_GENERATION, (group,)).fetchone()
    return int(row[0]) if row else 0
