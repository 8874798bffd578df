"""One log, several processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable

import pytest

from headrace.functions.errors import BrokerError
from headrace.producer import connect
from headrace.runtime.ports import Partition, TopicSpec
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
    async def revoked(self, partitions):
        pass

async def main():
    log = await SqliteLog.open(sys.argv[1])
    await log.join("app.f", ["t"], Group())
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Group:
    def __init__(self) -> None:
        self.epochs: dict[Partition, int] = {}

    async def assigned(self, partitions):
        self.epochs |= {one.partition: one.epoch for one in partitions}

    async def revoked(self, partitions):
        for partition in partitions:
            del self.epochs[partition]


async def until(log: SqliteLog, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await log.changed(0.02)


def member_id(log: SqliteLog) -> str:
    """The id of the one member this client has."""
    (membership,) = log._memberships.values()
    return membership.id


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
    async with asyncio.timeout(60):
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


async def test_two_processes_share_a_group_and_one_has_it_all_when_the_other_dies(log):
    serving = await python(SERVE, log.path)
    assert await serving.stdout.readline() == b"serving 1 1\n"
    group = Group()
    await log.join("app.f", ["t"], group)
    assert list(group.epochs.values()) == [2]
    os.kill(serving.pid, signal.SIGKILL)
    await serving.communicate()
    await until(log, lambda: len(group.epochs) == 2)
    assert list(group.epochs.values()) == [2, 2]


async def test_what_a_process_that_died_had_is_there_for_the_next_one_at_once(log):
    serving = await python(SERVE, log.path)
    assert await serving.stdout.readline() == b"serving 1 1\n"
    os.kill(serving.pid, signal.SIGKILL)
    await serving.communicate()
    group = Group()
    await log.join("app.f", ["t"], group)
    assert list(group.epochs.values()) == [2, 2]


async def test_a_client_joins_a_group_once(log, tmp_path):
    member = await log.join("app.f", ["t"], Group())
    with pytest.raises(BrokerError, match=r"'app\.f' was already joined through this client of .*: leave it first, or"):
        await log.join("app.f", ["t"], Group())
    await log.join("app.other", ["t"], Group())
    await member.leave()
    await log.join("app.f", ["t"], Group())


async def test_a_group_goes_on_when_its_folder_for_pulses_is_cleared(log, tmp_path):
    one, two = Group(), Group()
    other = await SqliteLog.open(log.path)
    await log.join("app.f", ["t"], one)
    await other.join("app.f", ["t"], two)
    shutil.rmtree(tmp_path / "log.db.run", ignore_errors=True)  # somebody may make a file in it meanwhile
    await until(log, lambda: len(list(tmp_path.glob("log.db.run/*.live"))) == 2)  # they are there again
    assert (list(one.epochs.values()), list(two.epochs.values())) == ([1], [2])
    await other.close()
    await until(log, lambda: len(one.epochs) == 2)


async def test_what_dead_members_left_behind_is_swept_up_by_the_next_that_joins(log, tmp_path):
    serving = await python(SERVE, log.path)
    assert await serving.stdout.readline() == b"serving 1 1\n"
    os.kill(serving.pid, signal.SIGKILL)
    await serving.communicate()
    member = await log.join("app.f", ["t"], Group())
    (left,) = tmp_path.glob("log.db.run/*.live")
    assert left.stem == member_id(log)
    await member.leave()
    assert list(tmp_path.glob("log.db.run/*.live")) == []


async def test_connections_of_one_process_do_not_disturb_each_other(log):
    url = f"sqlite:{log.path}"
    async with connect(url) as one, connect(url) as two:
        await asyncio.gather(*(each.emit("t", {"n": n}) for n in range(50) for each in (one, two, one)))
    assert sum(each.end for each in (await log.topics())["t"].bounds) == 150
