"""A producer whose answers get lost: what it emits is there once."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headrace.functions.errors import BrokerUnavailable, EmitRefused
from headrace.functions.identity import fresh_id
from headrace.producer import Item, Log, connect
from headrace.runtime.clock import SystemClock
from headrace.runtime.ports import Append, Ticket, TopicSpec
from headrace.triggers.brokers.memory import Disk, Faults, MemoryLog
from headrace.triggers.brokers.sqlite import SqliteLog, writer
from headrace.triggers.brokers.sqlite.writer import Writer

HOLD = """
import fcntl, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class Losses:
    """Loses the answers to the next `count` writes."""

    count = 0

    def take(self) -> bool:
        self.count -= 1
        return self.count >= 0


@pytest.fixture
def losses(monkeypatch) -> Losses:
    """Of every embedded log: the commit is durable, and its callers are told that it may or may not be."""
    losses = Losses()
    announce = Writer._announce

    def lose(self, jobs, news):
        for job in jobs:
            if job.work.__qualname__.startswith("SqliteLog.append") and not job.future.done() and losses.take():
                job.future.set_exception(BrokerUnavailable("the answer was lost"))
        announce(self, jobs, news)

    monkeypatch.setattr(Writer, "_announce", lose)
    return losses


@pytest.fixture
async def store(tmp_path):
    store = await SqliteLog.open(tmp_path / "log.db")
    await store.ensure([TopicSpec("t", 1)])
    yield store
    await store.close()


def hold(path: Path) -> subprocess.Popen[bytes]:
    """A process that has the turn to write until its stdin is closed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, f"{path}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    return holder


async def values(store) -> list[bytes]:
    return [record.value for record in (await store.read(("t", 0), 0, 10_000)).records]


async def test_an_emit_whose_answer_is_lost_is_made_again_and_is_there_once(store, losses):
    log = Log(store, source="test", make=TopicSpec)
    losses.count = 2
    position = await log.emit("t", 1)
    assert position.offset == 0
    assert (await log.emit("t", 2)).offset == 1
    assert await values(store) == [b"1", b"2"]


async def test_each_of_many_emits_at_once_is_there_once(store, losses):
    log = Log(store, source="test", make=TopicSpec)
    losses.count = 70
    positions = await asyncio.gather(*(log.emit("t", n) for n in range(200)), return_exceptions=True)
    assert [type(position).__name__ for position in positions] == ["Position"] * 200
    stored = await values(store)
    assert sorted(map(int, stored)) == list(range(200))
    assert [int(stored[position.offset]) for position in positions] == list(range(200))


async def test_an_emit_that_was_given_up_is_there_once_when_it_is_made_again_with_its_id(store, losses):
    log = Log(store, source="test", make=TopicSpec)
    losses.count = 1000
    with pytest.raises(BrokerUnavailable):
        await log.emit("t", 1, id="e-1")
    with pytest.raises(BrokerUnavailable):
        await log.emit_many("t", [Item(2, id="e-2"), Item(3, id="e-3")])
    losses.count = 0
    assert (await log.emit("t", 4)).offset == 3
    assert (await log.emit("t", 1, id="e-1")).offset == 0
    assert [p.offset for p in await log.emit_many("t", [Item(2, id="e-2"), Item(3, id="e-3")])] == [1, 2]
    assert await values(store) == [b"1", b"2", b"3", b"4"]


async def test_an_id_that_was_acknowledged_may_be_emitted_again_on_purpose(store):
    log = Log(store, source="test", make=TopicSpec)
    assert [(await log.emit("t", 1, id="e-1")).offset for _ in range(3)] == [0, 1, 2]


async def test_a_cancelled_emit_is_there_once_when_it_is_made_again_with_its_id(store):
    log = Log(store, source="test", make=TopicSpec)
    emitting = asyncio.create_task(log.emit("t", 1, id="e-1"))
    while not await values(store):  # written, whether or not its caller knows
        pass
    emitting.cancel()
    await asyncio.gather(emitting, return_exceptions=True)
    done = not emitting.cancelled()
    assert (await log.emit("t", 1, id="e-1")).offset == int(done)


async def test_while_another_process_has_the_turn_emits_are_given_up_and_made_again_once(store, monkeypatch):
    log = Log(store, source="test", make=TopicSpec)
    monkeypatch.setattr(writer, "_PATIENCE", 0.05)
    holder = hold(store.path)
    calls = [log.emit("t", n, id=f"e-{n}") for n in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {BrokerUnavailable}
    monkeypatch.setattr(writer, "_PATIENCE", 30.0)
    holder.communicate()
    await asyncio.gather(*(log.emit("t", n, id=f"e-{n}") for n in range(10)))
    assert sorted(map(int, await values(store))) == list(range(10))


async def test_a_stopped_writer_that_commits_after_its_caller_gave_up_has_written_it_once(store, monkeypatch):
    """The turn comes, the transaction is done, and only then the callers' patience ends."""
    log = Log(store, source="test", make=TopicSpec)
    loop = asyncio.get_running_loop()
    given_up, transact = [], Writer._transact

    def slow(self, jobs):
        news = transact(self, jobs)
        if not given_up:
            given_up.extend(jobs)
            over = asyncio.run_coroutine_threadsafe(give_up(jobs), loop)
            over.result()
        return news

    async def give_up(jobs):
        for job in jobs:
            job.future.cancel()

    monkeypatch.setattr(Writer, "_transact", slow)
    with pytest.raises(asyncio.CancelledError):
        await log.emit("t", 1, id="e-1")
    assert (await log.emit("t", 1, id="e-1")).offset == 0
    assert await values(store) == [b"1"]


async def test_what_was_refused_is_no_lost_answer(store):
    log = Log(store, source="test", make=None)
    with pytest.raises(EmitRefused):
        await log.emit("t", object(), id="e-1")
    assert (await log.emit("t", 1, id="e-1")).offset == 0


async def test_in_memory_it_is_the_same():
    class LoseTwo(Faults):
        lost = 0

        def after(self, step):
            if step.action == "append" and self.lost < 2:
                self.lost += 1
                raise BrokerUnavailable("the answer was lost")

    disk = Disk(cluster=fresh_id())
    store = MemoryLog(disk, SystemClock(), LoseTwo())
    await store.ensure([TopicSpec("t", 1)])
    log = Log(store, source="test", make=TopicSpec)
    assert (await log.emit("t", 1)).offset == 0
    assert await values(store) == [b"1"]
    await store.close()


async def test_a_closed_connection_does_not_try_again(tmp_path):
    async with connect(f"sqlite:{tmp_path}/log.db") as log:
        await log.emit("t", 1)
    calls = []
    append = log._store.append

    async def counted(*arguments, **options):
        calls.append(arguments)
        return await append(*arguments, **options)

    log._store.append = counted
    with pytest.raises(BrokerUnavailable, match="closed"):
        await log.emit("t", 2)
    assert len(calls) == 1


def rows(path: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as plain:
        return {name for (name,) in plain.execute("SELECT id FROM producer")}


async def test_what_producers_were_answered_is_kept_for_a_day_and_for_those_that_go_on(store, tmp_path):
    one = [Append("t", 0, 0, None, b"x", b"")]
    for name in ("gone", "goes-on", "young"):
        await store.append(one, ticket=Ticket(name, 0))
    await store.close()
    day = 86_400_000
    with closing(sqlite3.connect(store.path)) as plain:
        plain.execute("UPDATE producer SET born = born - ?, at = at - ? WHERE id = 'gone'", (day + 1, day + 1))
        plain.execute("UPDATE producer SET born = born - ? WHERE id = 'goes-on'", (9 * day,))
        plain.execute("UPDATE producer SET born = born - ?, at = at - ? WHERE id = 'young'", (day // 2, day // 2))
        plain.commit()
    store = await SqliteLog.open(store.path)
    assert rows(store.path) == {"gone", "goes-on", "young"}
    await store.append(one, ticket=Ticket("new", 0))
    assert rows(store.path) == {"goes-on", "young", "new"}
    await store.append(one, ticket=Ticket("goes-on", 0))
    assert len(await values(store)) == 4
    await store.close()
