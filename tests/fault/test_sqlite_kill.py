"""Writers killed at any moment, and disks that fill up: nothing acknowledged is lost, and what is there is whole."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog

KILLS = 15  # of two processes each
PRODUCER = Path(__file__).with_name("sqlite_producer.py")


class Producer:
    """One producer process, started and waiting for `go`."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, PRODUCER, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "ready\n"

    def go(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def heard(self, count: int) -> list[list[str]]:
        lines = [self._process.stdout.readline() for _ in range(count)]
        assert all(lines), "the producer ended by itself"
        return [line.split() for line in lines]

    def kill(self) -> list[list[str]]:
        """Kill it; what it had said and was not yet heard. A last line cut short is no acknowledgement."""
        self._process.kill()
        with self._process as ended:  # not communicate(), which passes over what readline() has read ahead
            rest = ended.stdout.read()
        return [line.split() for line in rest.splitlines(keepends=True) if line.endswith("\n")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def test_nothing_acknowledged_is_lost_and_all_is_whole_when_two_writers_are_killed(tmp_path):
    path = tmp_path / "log.db"
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("in", 3), TopicSpec("out", 1)])
    await log.close()
    draw = random.Random(20)
    acknowledged: list[list[str]] = []
    settled: Counter[str] = Counter()
    for _ in range(KILLS):
        producers = [Producer(path, name) for name in ("one", "two")]
        for producer in producers:
            producer.go()
        for producer in producers:
            said = producer.heard(draw.randrange(1, 200)) + producer.kill()
            acknowledged += [words for words in said if words[0] == "a"]
            settled[producer.name] = max(
                [settled[producer.name], *(int(words[1]) for words in said if words[0] == "s")]
            )
    assert min(settled["one"], settled["two"]) > KILLS
    await check(path, acknowledged, settled)


async def check(path: Path, acknowledged: list[list[str]], settled: Counter[str]) -> None:
    log = await SqliteLog.open(path)
    stored = {}
    for partition, bounds in enumerate((await log.topics())["in"].bounds):
        fetched = await log.read(("in", partition), 0, bounds.end + 1)
        assert [record.offset for record in fetched.records] == list(range(bounds.end))
        stored |= {(partition, record.offset): record.value.decode() for record in fetched.records}
    assert len(acknowledged) > KILLS
    for _, partition, offset, value in acknowledged:
        assert stored[int(partition), int(offset)] == value
    # Appends come in pairs: a transaction is there whole or not at all.
    values = Counter(value.removesuffix("+") for value in stored.values())
    assert set(values.values()) == {2}
    out = await log.read(("out", 0), 0, 10_000_000)
    for lag in await log.lag(""):
        assert lag.committed >= settled[lag.group]
        assert lag.progress == b"%d" % lag.committed
        emitted = [int(record.value) for record in out.records if record.key == lag.group.encode()]
        assert emitted == list(range(1, lag.committed + 1))
    await log.close()
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    plain.close()


async def fill(log: SqliteLog) -> tuple[int, BrokerUnavailable]:
    """Append until it is refused; how many were acknowledged, and the refusal."""
    for count in range(10_000):
        try:
            await log.append([Append("t", 0, 0, None, b"x" * 50_000, b"")])
        except BrokerUnavailable as error:
            return count, error
    raise AssertionError("there is no end of room")


async def check_goes_on(log: SqliteLog, count: int) -> None:
    fetched = await log.read(("t", 0), 0, 10_000)
    assert len(fetched.records) == count
    (position,) = await log.append([Append("t", 0, 0, None, b"y" * 50_000, b"")])
    assert position.offset == count


async def test_at_the_file_size_limit_appends_fail_reads_work_and_it_goes_on_when_lifted(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("t", 1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        count, error = await fill(log)
        assert len((await log.read(("t", 0), 0, 10_000)).records) == count
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path / "log.db") in str(error)
    assert "nothing was written" in str(error)
    await check_goes_on(log, count)
    await log.close()


async def test_on_a_full_disk_appends_fail_and_it_goes_on_when_there_is_room(small_disk):
    (small_disk / "ballast").write_bytes(bytes(1 << 20))
    log = await SqliteLog.open(small_disk / "log.db")
    await log.ensure([TopicSpec("t", 1)])
    count, error = await fill(log)
    assert "disk that holds" in str(error)
    assert "is full; nothing was written" in str(error)
    (small_disk / "ballast").unlink()
    await check_goes_on(log, count)
    await log.close()
