"""Upkeep of the embedded log under load: it deletes what it may, breaks no promise, and the file shrinks."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, closing
from pathlib import Path

from harness import Shell

from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, chores, retention, space
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.upkeep import Upkeep

WRITER = """
import asyncio, sys
from headrace.runtime.ports import Append
from headrace.triggers.brokers.sqlite import SqliteLog

async def main(path, name, topic):
    log = await SqliteLog.open(path)
    n = 0
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ended = asyncio.create_task(reader.read())
    while not ended.done():
        some = [b"%s-%d" % (name.encode(), n + i) for i in range(20)]
        await log.append([Append(topic, -1, 0, b"%d" % (n % 50), b'{"id":"%s"}' % one, b"x" * 0) for one in some])
        n += 20
        print(n, flush=True)
    await log.close()

asyncio.run(main(*sys.argv[1:]))
"""

BULKY = WRITER.replace('b\'{"id":"%s"}\' % one', 'b"v" * 2000')

COPY = """
from pydantic import BaseModel
from headrace import function

class Seen(BaseModel):
    id: str

@function("orders", emits={"seen": Seen})
def copy(order: dict) -> Seen:
    return Seen(id=order["id"])
"""


class Writer:
    """A process that appends until it is told to end; `acknowledged` is how much it was told is durable."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.acknowledged = 0
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, path: Path, name: str, topic: str, script: str = WRITER) -> Writer:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(path), name, topic, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return cls(process)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.acknowledged = int(line)

    async def end(self) -> int:
        """End it, and how many it had written."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert await self._process.wait() == 0
        await self._listening
        return self.acknowledged

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


async def until(log: SqliteLog, condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await log.changed(0.05)


def live_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((free,),) = connection.execute("PRAGMA freelist_count").fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    return space.size_of(path) - free * size


async def test_the_file_shrinks_to_little_more_than_what_lives_in_it_while_two_writers_append(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("bulk", 2), TopicSpec("orders", 2)])
    for _ in range(20):
        await log.append([Append("bulk", -1, 0, None, b"v" * 2000, b"") for _ in range(1000)])
    full = space.size_of(log.path)
    await log.alter(TopicSpec("bulk", retention_bytes=2_000_000))
    writers = [await Writer.start(log.path, name, "orders") for name in ("one", "two")]
    try:
        await until(log, lambda: all(writer.acknowledged for writer in writers))
        before = [writer.acknowledged for writer in writers]
        with closing(Bench.open(log.path)) as bench:
            await asyncio.to_thread(chores.do, bench, time.time_ns() // 1_000_000)
        await until(log, lambda: all(now.acknowledged > then for now, then in zip(writers, before, strict=True)))
        with closing(Bench.open(log.path)) as bench:  # what was free a moment ago and is used up is no waste
            await asyncio.to_thread(chores.do, bench, time.time_ns() // 1_000_000)
            space.fold(bench)
        assert space.size_of(log.path) < full / 3
        assert space.size_of(log.path) < 1.3 * live_bytes(log.path)
        written = sum([await writer.end() for writer in writers])
    finally:
        for writer in writers:
            writer.kill()
    topics = await log.topics()
    assert sum(bounds.end for bounds in topics["orders"].bounds) == written
    assert topics["bulk"].bytes <= 2 * 2_000_000
    await log.close()
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_under_load_nothing_is_lost_that_is_not_counted_and_nothing_is_doubled(tmp_path):
    """Two writers, a function with emits, and retention so tight that it overtakes the function now and then."""
    folder = tmp_path / "shop"
    folder.mkdir()
    shell = Shell(folder)
    shell.write("functions.py", COPY)
    path = folder / ".headrace" / "log.db"
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("orders", 2, retention_bytes=30_000), TopicSpec("seen", 1)])
    async with AsyncExitStack() as stack:
        runtime = stack.enter_context(shell.start("run", stderr=subprocess.PIPE))
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        drain = asyncio.create_task(asyncio.to_thread(runtime.stderr.read))
        writers = [await Writer.start(path, name, "orders") for name in ("one", "two")]
        for writer in writers:
            stack.callback(writer.kill)
        for _ in range(12):
            before = sum(writer.acknowledged for writer in writers)
            await until(log, lambda before=before: sum(writer.acknowledged for writer in writers) > before + 400)
            with closing(Bench.open(path)) as bench:
                await asyncio.to_thread(chores.do, bench, time.time_ns() // 1_000_000)
        written = sum([await writer.end() for writer in writers])
        assert await settled(shell)
        runtime.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(runtime.wait, 30) == 0
        await drain
    lost = sum(row["lost"] for row in shell.json("lag"))
    seen = Counter(event["data"]["id"] for event in shell.tail("seen"))
    deleted = sum(bounds.start for bounds in (await log.topics())["orders"].bounds)
    await log.close()
    assert deleted > 0
    assert set(seen.values()) == {1}, "an emit came twice"
    # An event that was in hand when it was deleted is counted and handled all the same: never the other way round.
    assert written - lost <= len(seen) <= written
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def settled(shell: Shell) -> bool:
    async with asyncio.timeout(60):
        while sum(row["lag"] for row in await asyncio.to_thread(shell.json, "lag")):
            pass
    return True


async def test_what_is_handled_is_never_counted_as_lost(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    shell = Shell(folder)
    shell.write("functions.py", COPY)
    shell.run("topics", "create", "orders", "--partitions", "2")
    shell.run("emit", "orders", "-", stdin="".join(json.dumps({"id": str(n)}) + "\n" for n in range(2000)))
    shell.run("run", "--until-idle")
    shell.run("topics", "alter", "orders", "--retention-bytes", "10KB")
    shell.run("run", "--until-idle")
    shell.run("log", "compact")
    (topic,) = [one for one in shell.json("topics") if one["name"] == "orders"]
    assert topic["bytes"] <= 20_000
    assert {row["lost"] for row in shell.json("lag")} == {0}
    assert {row["lag"] for row in shell.json("lag")} == {0}


async def test_a_loss_is_told_in_the_log_of_the_runtime_and_by_lag(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    shell = Shell(folder)
    shell.write("functions.py", COPY)
    shell.run("topics", "create", "orders", "--partitions", "1")
    shell.run("emit", "orders", '{"id": "1"}')
    shell.run("run", "--until-idle")
    shell.run("emit", "orders", "-", stdin="".join(json.dumps({"id": str(n)}) + "\n" for n in range(2, 1000)))
    shell.run("topics", "alter", "orders", "--retention-bytes", "10KB")
    told = shell.run("log", "compact").stdout
    assert "lost to shop.copy: " in told
    (row,) = shell.json("lag")
    assert row["lost"] > 900
    assert row["lost"] + row["lag"] == 998
    shell.run("run", "--until-idle")
    assert len(shell.tail("seen")) == 999 - row["lost"]
    assert sum(row["lag"] for row in shell.json("lag")) == 0


async def test_the_runtime_does_the_chores_and_a_producer_does_none(tmp_path, capsys):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("orders", 1, retention_bytes=1000)])
    await log.append([Append("orders", 0, 0, None, b"x" * 100, b"") for _ in range(100)])
    assert "not started" in repr(log._upkeep)

    class Group:
        async def assigned(self, partitions):
            pass

        async def revoked(self, partitions):
            pass

    await log.join("app.f", ["orders"], Group())
    start = 0
    async with asyncio.timeout(60):
        while start == 0:
            start = (await log.topics())["orders"].bounds[0].start
            await log.changed(0.05)
    assert start == 90
    assert "running" in repr(log._upkeep)
    await log.close()
    assert "ended" in repr(log._upkeep)


async def test_a_failing_round_is_told_once_and_tried_again(tmp_path, monkeypatch, capsys):
    log = await SqliteLog.open(tmp_path / "log.db")
    rounds = asyncio.Event()
    loop = asyncio.get_running_loop()
    failures = []

    def fail(*_: object) -> None:
        failures.append(1)
        if len(failures) == 3:
            loop.call_soon_threadsafe(rounds.set)
        raise sqlite3.OperationalError("it fails")

    monkeypatch.setattr(chores, "do", fail)
    upkeep = Upkeep(log.path, log.path.with_name("log.db.run"), every_s=0.01)
    upkeep.start()
    async with asyncio.timeout(60):
        await rounds.wait()
    assert "in trouble" in repr(upkeep)
    await upkeep.close()
    assert capsys.readouterr().out.count("the log's upkeep failed") == 1
    await log.close()


async def test_upkeep_that_is_closed_in_the_middle_leaves_whole_slices(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("orders", 1, retention_bytes=10)])
    for _ in range(20):
        await log.append([Append("orders", 0, 0, None, b"x", b"") for _ in range(1000)])
    upkeep = Upkeep(log.path, log.path.with_name("log.db.run"))
    upkeep.start()
    async with asyncio.timeout(60):
        while (await log.topics())["orders"].bounds[0].start == 0:
            await log.changed(0.01)
    await upkeep.close()
    (bounds,) = (await log.topics())["orders"].bounds
    assert (await log.topics())["orders"].bytes == bounds.end - bounds.start
    assert bounds.start % retention.ROWS == 0 or bounds.start == 20_000 - 10
    await log.close()


async def test_the_wal_is_told_of_when_something_keeps_it_from_being_reset(tmp_path, monkeypatch, capsys):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("orders", 1)])
    monkeypatch.setattr(space, "WAL_ALARM", 1 << 20)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as forgotten:
        forgotten.execute("BEGIN")
        forgotten.execute("SELECT count(*) FROM record").fetchone()
        for _ in range(10):
            await log.append([Append("orders", 0, 0, None, b"x" * 1000, b"") for _ in range(200)])
        upkeep = Upkeep(log.path, log.path.with_name("log.db.run"), every_s=0.01)
        upkeep.start()
        async with asyncio.timeout(60):
            while upkeep.rounds < 3:
                await log.changed(0.01)
        await upkeep.close()
    assert capsys.readouterr().out.count("-wal file grows") == 1
    await log.close()
