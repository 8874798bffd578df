"""Waiting for what other processes commit: by doorbell, and without one."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, watch

NEVER = 3600.0

EMITTER = """
import sys
from headrace import connect_sync
with connect_sync(sys.argv[1]) as log:
    print("ready", flush=True)
    for line in sys.stdin:
        log.emit("t", line.strip())
        print("done", flush=True)
"""


class Emitter:
    """A process that emits what it is told, and listens to nothing."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", EMITTER, f"sqlite:{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "ready\n"

    async def emit(self, text: str) -> None:
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        assert await asyncio.to_thread(self._process.stdout.readline) == "done\n"

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture
async def log(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("t", 1)])
    yield log
    await log.close()


@pytest.fixture
def emitter(log) -> Iterator[Emitter]:
    emitter = Emitter(log.path)
    yield emitter
    emitter.close()


async def next_value(log: SqliteLog, offset: int) -> str:
    async with asyncio.timeout(60):
        while not (records := (await log.read(("t", 0), offset, 1)).records):
            await log.changed(NEVER)
    return records[0].value.decode()


def bells(log: SqliteLog) -> list[Path]:
    return sorted(log.path.with_name("log.db.run").glob("*.bell"))


async def test_a_bell_alone_brings_the_records_of_another_process(log, emitter, monkeypatch):
    monkeypatch.setattr(watch, "_NET", NEVER)
    for n in range(50):
        waiting = asyncio.create_task(next_value(log, n))
        await emitter.emit(f"{n}")
        assert await waiting == f"{n}"
    assert len(bells(log)) == 1


async def test_where_there_can_be_no_bell_the_net_brings_them(log, emitter, monkeypatch):
    monkeypatch.setattr(os, "mkfifo", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not here")))
    for n in range(10):
        waiting = asyncio.create_task(next_value(log, n))
        await emitter.emit(f"{n}")
        assert await waiting == f"{n}"
    assert bells(log) == []
    assert "without a doorbell" in repr(log._watch)


async def test_when_the_folder_of_the_bells_is_removed_the_net_brings_them_and_the_bell_is_hung_again(
    log, emitter, monkeypatch
):
    monkeypatch.setattr(watch, "_HANG_AGAIN", 0.0)
    waiting = asyncio.create_task(next_value(log, 0))
    await emitter.emit("0")
    assert await waiting == "0"
    for n in range(1, 6):
        waiting = asyncio.create_task(next_value(log, n))
        await asyncio.sleep(0)
        shutil.rmtree(log.path.with_name("log.db.run"), ignore_errors=True)
        await emitter.emit(f"{n}")
        assert await waiting == f"{n}"
    waiting = asyncio.create_task(next_value(log, 6))
    async with asyncio.timeout(60):
        while not bells(log):
            await asyncio.to_thread(os.sched_yield)
    monkeypatch.setattr(watch, "_NET", NEVER)
    await emitter.emit("6")
    assert await waiting == "6"  # the net may have brought it, whose last turn was set before
    waiting = asyncio.create_task(next_value(log, 7))
    await emitter.emit("7")
    assert await waiting == "7", "there is no net any more"


async def test_what_is_rung_while_nobody_waits_is_seen_by_who_waits_next(log, emitter, monkeypatch):
    monkeypatch.setattr(watch, "_NET", NEVER)
    waiting = asyncio.create_task(next_value(log, 0))
    await emitter.emit("0")
    await waiting
    for n in range(1, 20):
        await emitter.emit(f"{n}")
        assert await next_value(log, n) == f"{n}"


async def test_only_those_who_listen_have_a_bell_and_closing_takes_it_down(log, emitter, tmp_path):
    await emitter.emit("x")
    await log.append([Append("t", 0, 0, None, b"y", b"")])
    assert bells(log) == []
    other = await SqliteLog.open(tmp_path / "log.db")
    for listener in (log, other):
        await listener.changed(0.001)
    assert len(bells(log)) == 2
    await other.close()
    assert len(bells(log)) == 1


async def test_listening_and_closing_many_times_leaves_no_open_file(tmp_path):
    path = tmp_path / "log.db"

    async def once() -> int:
        log = await SqliteLog.open(path)
        other = await SqliteLog.open(path)
        await log.ensure([TopicSpec("t", 1)])
        await log.changed(0.001)
        await other.append([Append("t", 0, 0, None, b"y", b"")])
        await log.close()
        await other.close()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = await once()
    assert [await once() for _ in range(10)] == [before] * 10
    assert not list(tmp_path.rglob("*.bell"))
