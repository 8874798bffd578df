"""Fetching and finding by time in a log with gaps, against a plain list."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.ports import Append
from headrace.triggers.brokers.sqlite import reader, schema
from headrace.triggers.brokers.sqlite.schema import OFFSET_BITS
from headrace.triggers.brokers.sqlite.transaction import Transaction

clocks = st.lists(st.integers(0, 50), min_size=1, max_size=30)


def table(tmp_path_factory) -> sqlite3.Connection:
    connection = sqlite3.connect(tmp_path_factory.mktemp("log") / "log.db", isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    schema.prepare(connection, tmp_path_factory.getbasetemp())
    connection.execute("INSERT INTO topic VALUES (1, 't', 2, '{}')")
    connection.execute("INSERT INTO part(topic, p) VALUES (1, 0), (1, 1)")
    return connection


def append(connection: sqlite3.Connection, clock: list[int], partition: int) -> list[int]:
    """Append one record each time the clock shows, also when it goes back; the append times that must come of it."""
    for now in clock:
        transaction = Transaction(connection, {})
        transaction.now_ms = now
        transaction.append([Append("t", partition, 0, None, b"x", b"")])
        transaction.flush()
    return [max(clock[: n + 1]) for n in range(len(clock))]


@given(clock=clocks, other=clocks, gone=st.sets(st.integers(0, 29)), asked=st.integers(-1, 52))
def test_the_offset_at_a_time_is_the_first_kept_record_appended_then_or_later(
    tmp_path_factory, clock, other, gone, asked
):
    connection = table(tmp_path_factory)
    append(connection, other, 0)
    times = append(connection, clock, 1)
    connection.executemany("DELETE FROM record WHERE id = ?", [(2 << OFFSET_BITS | offset,) for offset in gone])
    found = reader.offset_at(connection, ("t", 1), asked)
    later = [offset for offset, time in enumerate(times) if time >= asked and offset not in gone]
    kept = reader.fetch(connection, [reader.Want(2, ("t", 1), found)], 100)
    assert [record.offset for fetched in kept for record in fetched.records] == later
    connection.close()


@given(
    counts=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    gone=st.sets(st.tuples(st.integers(1, 2), st.integers(0, 29))),
    limit=st.integers(1, 20),
)
def test_fetching_on_from_next_yields_every_kept_record_once_within_the_limit(tmp_path_factory, counts, gone, limit):
    connection = table(tmp_path_factory)
    for partition, count in enumerate(counts):
        append(connection, [1] * count, partition)
    connection.executemany("DELETE FROM record WHERE id = ?", [(tp << OFFSET_BITS | offset,) for tp, offset in gone])
    positions = [0, 0]
    seen: list[tuple[int, int]] = []
    while fetched := reader.fetch(connection, [reader.Want(p + 1, ("t", p), positions[p]) for p in (0, 1)], limit):
        assert sum(len(one.records) for one in fetched) <= limit
        for one in fetched:
            number = one.partition[1]
            assert one.next > positions[number]
            positions[number] = one.next
            seen += [(number + 1, record.offset) for record in one.records]
    assert positions == list(counts)
    kept = [(p + 1, offset) for p, count in enumerate(counts) for offset in range(count) if (p + 1, offset) not in gone]
    assert sorted(seen) == kept
    assert len(seen) == len(kept)
    connection.close()
