"""Compaction of the embedded log: the last record of each key stays, whatever happens in the middle."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Append, Record, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, compaction, retention
from headrace.triggers.brokers.sqlite.bench import Bench, Interrupted
from headrace.triggers.brokers.sqlite.chores import do

STATE = ("state", 0)
DAY_MS = 24 * 3_600_000


def record(key: str | None, value: bytes | None) -> Append:
    return Append("state", 0, 0, None if key is None else key.encode(), value, b"")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def opened(path: Path, records: list[Append]) -> SqliteLog:
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("state", 1, cleanup="compact")])
    if records:
        await log.append(records)
    return log


async def read(log: SqliteLog) -> list[Record]:
    found: list[Record] = []
    end = (await log.topics())["state"].bounds[0].end
    position = 0
    while position < end:
        fetched = await log.read(STATE, position, 500)
        found += fetched.records
        position = fetched.next
    return found


def contents(records: list[Record]) -> dict[bytes | None, bytes]:
    """The table that a compacted topic is: the last value of each key."""
    table: dict[bytes | None, bytes | None] = {one.key: one.value for one in records}
    return {key: value for key, value in table.items() if value is not None}


def compact(path: Path, now: int | None = None) -> int:
    with closing(Bench.open(path, pace=0.0)) as bench:
        (store,) = retention.stores(bench)
        return compaction.compact(bench, store, now or now_ms()).records


def sizes_fit(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        counted = "SELECT coalesce(sum(coalesce(length(k), 0) + coalesce(length(v), 0) + length(h)), 0) FROM record"
        return bool(connection.execute(f"SELECT bytes = ({counted}) FROM part").fetchone()[0])


async def test_the_last_record_of_each_key_stays_where_it_was(tmp_path):
    log = await opened(tmp_path / "log.db", [record(f"k{n % 700}", b"%d" % n) for n in range(5000)])
    assert compact(log.path) == 4300
    records = await read(log)
    assert [one.offset for one in records] == list(range(4300, 5000))
    assert (await log.topics())["state"].bounds == [(0, 5000)]
    (position,) = await log.append([record("k1", b"new")])
    assert position.offset == 5000
    assert sizes_fit(log.path)
    await log.close()


async def test_a_tombstone_stays_for_a_day_and_what_it_buried_does_not_come_back(tmp_path):
    log = await opened(
        tmp_path / "log.db", [record("a", b"1"), record("b", b"1"), record("a", None), record("c", None)]
    )
    assert compact(log.path) == 1
    assert [(one.key, one.value) for one in await read(log)] == [(b"b", b"1"), (b"a", None), (b"c", None)]
    assert compact(log.path, now_ms() + DAY_MS + 1000) == 2
    assert [(one.key, one.value) for one in await read(log)] == [(b"b", b"1")]
    await log.close()


async def test_a_pass_is_due_when_half_is_new_or_a_tombstone_has_stayed_long_enough(tmp_path):
    log = await opened(tmp_path / "log.db", [record(f"k{n}", b"1") for n in range(500)])

    def work(now: int | None = None) -> int:
        with closing(Bench.open(log.path, pace=0.0)) as bench:
            return do(bench, now or now_ms()).compacted

    assert work() == 0
    await log.append([record(f"k{n}", None) for n in range(499)])
    assert work() == 0
    await log.append([record("k499", b"2")])
    assert work() == 500
    assert work() == 0
    assert work(now_ms() + DAY_MS + 1000) == 499
    assert contents(await read(log)) == {b"k499": b"2"}
    await log.close()


async def test_a_record_without_a_key_is_refused_and_what_comes_with_it_is_not_written(tmp_path):
    log = await opened(tmp_path / "log.db", [])
    with pytest.raises(BrokerError, match=r"'state' is compacted .* give it a key"):
        await log.append([record("a", b"1"), record(None, b"1")])
    assert await read(log) == []
    await log.close()


async def test_records_without_a_key_from_before_it_was_compacted_stay(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("state", 1)])
    await log.append([record(None, b"1"), record("a", b"1"), record(None, b"2"), record("a", b"2")])
    await log.alter(TopicSpec("state", cleanup="compact"))
    assert compact(log.path) == 1
    assert [one.value for one in await read(log)] == [b"1", b"2", b"2"]
    await log.close()


async def test_a_pass_that_is_cut_short_anywhere_brings_nothing_back(tmp_path):
    draw = random.Random(3)
    records = [record(f"k{draw.randrange(900)}", draw.choice([b"x", None])) for _ in range(4000)]
    log = await opened(tmp_path / "log.db", records)
    expected = contents(await read(log))
    late = now_ms() + DAY_MS + 1000
    for slices in range(12):
        with closing(Bench.open(log.path, pace=0.0)) as bench:
            (store,) = retention.stores(bench)
            left = [slices]

            def stop(_: int, bench: Bench = bench, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] <= 0:
                    bench.stop()

            with suppress(Interrupted):
                compaction.compact(bench, store, late, stop)
        assert contents(await read(log)) == expected
        assert sizes_fit(log.path)
    assert len(await read(log)) == len(expected)
    await log.close()


@settings(max_examples=40)  # each is dozens of synced commits
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.binary(max_size=3)), max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
    st.booleans(),
)
async def test_a_reader_from_the_start_gets_the_same_table_before_and_after(pairs, cuts, later):
    with tempfile.TemporaryDirectory() as folder:
        log = await opened(Path(folder) / "log.db", [])
        written: dict[str, bytes | None] = {}
        for n, (key, value) in enumerate(pairs):
            await log.append([record(key, value)])
            written[key] = value
            if n in cuts:
                compact(log.path, now_ms() + DAY_MS + 1000 if later else None)
        compact(log.path)
        records = await read(log)
        assert contents(records) == {key.encode(): value for key, value in written.items() if value is not None}
        assert len({one.key for one in records}) == len(records)
        assert sizes_fit(log.path)
        await log.close()
