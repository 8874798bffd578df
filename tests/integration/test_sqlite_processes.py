"""One log, several processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys

import pytest

from headrace.functions.errors import BrokerError
from headrace.producer import connect
from headrace.runtime.ports import TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog

EMIT = """
import sys
from headrace import connect_sync
with connect_sync(sys.argv[1]) as log:
    for n in range(int(sys.argv[2])):
        log.emit("t", {"n": n}, key=f"{sys.argv[3]}-{n}")
"""

SERVE = """
import asyncio, sys
from headrace.triggers.brokers.sqlite import SqliteLog

class Group:
    async def assigned(self, partitions):
        print("serving", *sorted(one.epoch for one in partitions), flush=True)

async def main():
    log = await SqliteLog.open(sys.argv[1])
    await log.join("app.f", ["t"], Group())
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Group:
    def __init__(self) -> None:
        self.epochs: list[int] = []

    async def assigned(self, partitions):
        self.epochs = [one.epoch for one in partitions]

    async def revoked(self, partitions):
        self.epochs = []


@pytest.fixture
async def log(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("t", 2)])
    yield log
    await log.close()


async def python(script: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )


async def test_an_emit_of_another_process_reaches_a_member_that_polls_here(log):
    member = await log.join("app.f", ["t"], Group())
    for partition in range(2):
        member.seek(("t", partition), 0)
    emitting = await python(EMIT, f"sqlite:{log.path}", 20, "k")
    keys = []
    async with asyncio.timeout(20):
        while len(keys) < 20:
            keys += [record.key.decode() for fetched in await member.poll(100) for record in fetched.records]
    assert sorted(keys) == sorted(f"k-{n}" for n in range(20))
    await emitting.communicate()
    assert emitting.returncode == 0


async def test_several_processes_make_one_log_and_one_topic_together(tmp_path):
    url = f"sqlite:{tmp_path}/.headrace/log.db"
    emitting = [await python(EMIT, url, 30, name) for name in ("a", "b", "c")]
    for process in emitting:
        await process.communicate()
        assert process.returncode == 0
    log = await SqliteLog.open(tmp_path / ".headrace" / "log.db")
    bounds = (await log.topics())["t"].bounds
    assert sum(each.end for each in bounds) == 90
    await log.close()


async def test_a_group_is_served_by_one_process_and_free_when_that_dies(log):
    serving = await python(SERVE, log.path)
    assert re.fullmatch(rb"serving 1 1\n", await serving.stdout.readline())
    with pytest.raises(BrokerError, match=rf"'app\.f' is already served by process {serving.pid} on .*: stop that one"):
        await log.join("app.f", ["t"], Group())
    await log.join("app.other", ["t"], Group())
    os.kill(serving.pid, signal.SIGKILL)
    await serving.communicate()
    group = Group()
    await log.join("app.f", ["t"], group)
    assert group.epochs == [2, 2]


async def test_a_group_is_not_served_twice_by_one_process_either(log, tmp_path):
    member = await log.join("app.f", ["t"], Group())
    with pytest.raises(BrokerError, match=f"already served by process {os.getpid()} on"):
        await log.join("app.f", ["t"], Group())
    other = await SqliteLog.open(tmp_path / "log.db")
    with pytest.raises(BrokerError, match="already served"):
        await other.join("app.f", ["t"], Group())
    await member.leave()
    await other.join("app.f", ["t"], Group())
    await other.close()


async def test_connections_of_one_process_do_not_disturb_each_other(log):
    url = f"sqlite:{log.path}"
    async with connect(url) as one, connect(url) as two:
        await asyncio.gather(*(each.emit("t", {"n": n}) for n in range(50) for each in (one, two, one)))
    assert sum(each.end for each in (await log.topics())["t"].bounds) == 150
