"""What retention deletes from the embedded log, what it leaves, and what it says of events nobody had handled."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from headrace.runtime.ports import Append, Record, Settlement, TopicSpec
from headrace.runtime.progress import Progress
from headrace.triggers.brokers.sqlite import SqliteLog, chores
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.upkeep import Upkeep

HOUR_MS = 3_600_000
ORDERS = ("orders", 0)


class Group:
    """A member's view: the epochs of what it has."""

    def __init__(self) -> None:
        self.epochs: dict[tuple[str, int], int] = {}
        self.watermarks: dict[tuple[str, int], int | None] = {}

    async def assigned(self, partitions):
        self.epochs |= {one.partition: one.epoch for one in partitions}
        self.watermarks |= {one.partition: one.watermark for one in partitions}

    async def revoked(self, partitions):
        pass


def record(n: int, *, size: int = 100, topic: str = "orders", partition: int = 0) -> Append:
    return Append(topic, partition, 0, b"k", b"%d" % n + b"x" * (size - 1 - len(b"%d" % n)), b"")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def age(path: Path, before: int, by_ms: int = HOUR_MS) -> None:
    """Make the records of all partitions below the offset `before` older."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE record SET ats = ats - ? WHERE (id & ?) < ?", (by_ms, (1 << 40) - 1, before))
        connection.commit()


def upkeep(path: Path, now: int | None = None, *, thorough: bool = False) -> chores.Done:
    with closing(Bench.open(path, pace=0.0)) as bench:
        return chores.do(bench, now or now_ms(), thorough=thorough)


async def offsets(log: SqliteLog, partition: tuple[str, int] = ORDERS) -> list[int]:
    found: list[Record] = []
    position = 0
    while True:
        fetched = await log.read(partition, position, 500)
        found += fetched.records
        if fetched.next <= position or not fetched.records:
            return [record.offset for record in found]
        position = fetched.next


async def stored_bytes(log: SqliteLog) -> None:
    """Assert that what the log says of its sizes is what lies in it."""
    with closing(sqlite3.connect(log.path)) as connection:
        rows = connection.execute(
            "SELECT tp, bytes, (SELECT coalesce(sum(coalesce(length(k), 0) + coalesce(length(v), 0) + length(h)), 0)"
            " FROM record WHERE id >= part.tp << 40 AND id < (part.tp + 1) << 40) FROM part"
        ).fetchall()
    assert all(said == counted for _, said, counted in rows)


@pytest.fixture
async def log(tmp_path, monkeypatch):
    monkeypatch.setattr(Upkeep, "start", lambda _upkeep: None)  # the chores are done when a test says
    log = await SqliteLog.open(tmp_path / "log.db")
    yield log
    await log.close()


async def test_what_is_older_than_the_topic_keeps_it_goes_from_the_front_and_the_rest_stays(log):
    await log.ensure([TopicSpec("orders", 2, retention_ms=HOUR_MS // 2), TopicSpec("kept", 1)])
    await log.append([record(n, partition=n % 2) for n in range(3000)] + [record(0, topic="kept")] * 10)
    age(log.path, 1200)
    done = upkeep(log.path)
    assert done.records == 2400
    topics = await log.topics()
    assert topics["orders"].bounds == [(1200, 1500), (1200, 1500)]
    assert topics["orders"].bytes == 600 * 100
    assert list(topics["orders"].sizes) == [30_000, 30_000]
    assert topics["kept"].bounds == [(0, 10)]
    assert await offsets(log) == list(range(1200, 1500))
    await stored_bytes(log)
    assert not upkeep(log.path)


async def test_what_is_too_much_goes_and_the_newest_record_stays_however_large(log):
    await log.ensure([TopicSpec("orders", 1, retention_bytes=10_000), TopicSpec("big", 1, retention_bytes=10)])
    await log.append([record(n) for n in range(1300)] + [record(n, topic="big") for n in range(3)])
    assert upkeep(log.path).records == 1202
    topics = await log.topics()
    assert (topics["orders"].bounds, topics["orders"].bytes) == ([(1200, 1300)], 10_000)
    assert (topics["big"].bounds, topics["big"].bytes) == ([(2, 3)], 100)
    await stored_bytes(log)


async def test_a_topic_that_is_emptied_goes_on_with_its_offsets_and_numbers(log):
    await log.ensure([TopicSpec("orders", 1, retention_ms=HOUR_MS // 2)])
    await log.append([record(n) for n in range(10)])
    age(log.path, 10)
    upkeep(log.path)
    assert (await log.topics())["orders"].bounds == [(10, 10)]
    assert (await log.topics())["orders"].bytes == 0
    (position,) = await log.append([record(0)])
    assert position.offset == 10
    fetched = await log.read(ORDERS, 0, 100)
    assert ([one.offset for one in fetched.records], fetched.next) == ([10], 11)
    assert (await log.read(ORDERS, 11, 100)).next == 11


async def test_a_member_that_was_behind_is_led_over_what_is_gone(log):
    await log.ensure([TopicSpec("orders", 1, retention_ms=HOUR_MS // 2)])
    await log.append([record(n) for n in range(10)])
    member = await log.join("app.f", ["orders"], Group())
    member.seek(ORDERS, 0)
    age(log.path, 10)
    upkeep(log.path)
    (gone,) = await member.poll(5)
    assert (list(gone.records), gone.next) == ([], 10)
    await log.append([record(10)])
    (fetched,) = await member.poll(5)
    assert ([one.offset for one in fetched.records], fetched.next) == ([10], 11)


async def test_records_that_go_before_a_group_has_handled_them_are_counted_and_no_others(log):
    await log.ensure([TopicSpec("orders", 1, retention_ms=HOUR_MS // 2)])
    await log.append([record(n) for n in range(1000)])
    progress = Progress(0)
    progress.deliver([Record(n, 0, None, None, b"") for n in range(1000)], 1000)
    for n in range(100, 850):  # all but the first hundred and the last
        progress.finish(n)
    for group, watermark, said in (
        ("app.behind", 200, b""),
        ("app.there", 700, b""),
        ("app.stuck", 0, progress.encode()),
        ("app.foreign", 650, b"not ours"),
    ):
        view = Group()
        await log.join(group, ["orders"], view)
        await log.settle(Settlement(group, ORDERS, view.epochs[ORDERS], watermark, said))
    age(log.path, 700)
    done = upkeep(log.path)
    assert {loss.group: loss.records for loss in done.losses} == {
        "app.behind": 500,
        "app.stuck": 100,
        "app.foreign": 50,
    }
    assert {lag.group: (lag.start, lag.lost) for lag in await log.lag("app.")} == {
        "app.behind": (700, 500),
        "app.there": (700, 0),
        "app.stuck": (700, 100),
        "app.foreign": (700, 50),
    }


async def test_a_topic_that_is_only_compacted_keeps_what_is_old(log):
    await log.ensure([TopicSpec("orders", 1, retention_ms=1, retention_bytes=1, cleanup="compact")])
    await log.append([Append("orders", 0, 0, b"%d" % n, b"x", b"") for n in range(5)])
    age(log.path, 5)
    assert upkeep(log.path).records == 0
    assert await offsets(log) == [0, 1, 2, 3, 4]


async def test_the_records_of_a_deleted_topic_are_cleared_away_and_its_name_can_be_used_again(log):
    await log.ensure([TopicSpec("orders", 1), TopicSpec("other", 1)])
    await log.append([record(n) for n in range(1200)] + [record(0, topic="other")])
    await log.delete("orders")
    await log.ensure([TopicSpec("orders", 1)])
    (position,) = await log.append([record(0)])
    assert position.offset == 0
    assert upkeep(log.path).records == 1200
    assert await offsets(log) == [0]
    with closing(sqlite3.connect(log.path)) as connection:
        assert connection.execute("SELECT count(*) FROM record").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM meta WHERE k LIKE 'dropped%'").fetchone() == (0,)


async def test_only_one_process_at_a_time_does_the_chores(log):
    run = log.path.with_name("log.db.run")
    with chores.alone(run) as first, chores.alone(run) as second:
        assert (first, second) == (True, False)
    with chores.alone(run) as again:
        assert again
