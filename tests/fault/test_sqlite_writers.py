"""Several processes that write at once: all come to their turn, and no checkpoint ever meets a commit."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from fault.soak_results import SOAK, keep

from headrace.runtime.ports import Append, Settlement, Ticket, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog

WRITER = Path(__file__).with_name("sqlite_writers.py")
CHANGES = ("insert", "update", "delete", "begin", "commit", "create", "drop", "alter", "vacuum")


def start(path: Path, name: str, commits: int, *, pages: int = 0, opens: int = 1) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, WRITER, path, name, *map(str, (commits, pages, opens))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


async def made(path: Path) -> None:
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("t", 3)])
    await log.close()


async def test_of_three_that_write_without_pause_none_starves_and_none_finds_it_locked(tmp_path):
    path = tmp_path / "log.db"
    await made(path)
    processes = [start(path, name, 400) for name in "abc"]
    go(processes)
    for process in processes:
        said, complaints = process.communicate()
        assert (said, complaints, process.returncode) == ("400\n", "", 0)
    with closing(sqlite3.connect(path)) as plain:
        order = [bytes(v[:1]) for (v,) in plain.execute("SELECT v FROM record ORDER BY ats, id")]
    assert Counter(order) == {b"a": 400, b"b": 400, b"c": 400}
    # While all three wrote, nobody had a fifth of all turns in a row: a lock that starves gives all of its turns.
    begun = max(order.index(name) for name in (b"a", b"b", b"c"))
    ended = min(len(order) - order[::-1].index(name) for name in (b"a", b"b", b"c"))
    assert begun < ended, "all three wrote at once"
    assert max(len(list(turns)) for _, turns in groupby(order[begun:ended])) < 250


@pytest.mark.timeout(3600 if SOAK else 600)
async def test_commits_checkpoints_and_opening_by_four_processes_leave_the_log_whole(tmp_path):
    fast = Path("/dev/shm")
    directory = tmp_path if not os.access(fast, os.W_OK) else fast / f"headrace-{os.getpid()}"
    directory.mkdir(exist_ok=True)
    path = directory / "log.db"
    commits = 30_000 if SOAK else 1000
    begun = time.monotonic()
    try:
        for _ in range(3 if SOAK else 1):
            await made(path)
            processes = [start(path, f"{n}", commits, pages=4, opens=20) for n in range(4)]
            go(processes)
            for process in processes:
                said, complaints = process.communicate()
                assert (said, complaints, process.returncode) == (f"{commits}\n", "", 0)
            with closing(sqlite3.connect(path)) as plain:
                assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert plain.execute("SELECT count(*) FROM record").fetchall() == [(4 * commits,)]
                assert plain.execute("SELECT sum(next) FROM part").fetchall() == [(4 * commits,)]
            for left in directory.glob("log.db*"):
                if left.is_file():
                    left.unlink()
        keep("WAL reset under four writers", commits=3 * 4 * commits, seconds=round(time.monotonic() - begun))
    finally:
        if directory != tmp_path:
            shutil.rmtree(directory)


class Group:
    async def assigned(self, partitions):
        self.partitions = {one.partition: one for one in partitions}

    async def revoked(self, partitions):
        pass


@pytest.fixture
def outside(tmp_path, monkeypatch) -> list[str]:
    """What writes to the log without having its turn: each such statement, as it happens."""
    found: list[str] = []
    lock = os.open(tmp_path / "log.db.lock", os.O_RDWR | os.O_CREAT)
    connect = sqlite3.connect

    def look(statement: str) -> None:
        if not statement.lower().startswith(CHANGES) and "checkpoint" not in statement.lower():
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(lock, fcntl.LOCK_UN)
        found.append(statement)

    class Watched(sqlite3.Connection):
        def close(self) -> None:
            look("commit by closing")
            super().close()

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **{"factory": Watched, **options})
        connection.set_trace_callback(look)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    yield found
    os.close(lock)


async def test_every_write_has_the_turn(tmp_path, outside):
    log = await SqliteLog.open(tmp_path / "log.db")
    other = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("t", 2), TopicSpec("u", 1)])
    await log.alter(TopicSpec("u", 2, cleanup="compact"))
    group = Group()
    member = await log.join("app.f", ["t"], group)
    joined = await other.join("app.g", ["t"], Group())
    await log.append([Append("t", 0, 0, None, b"x", b"")] * 500, ticket=Ticket("p", 0))
    await log.append([Append("t", 1, 0, None, b"late", b"", 4_000_000_000_000)])
    epoch = group.partitions["t", 0].epoch
    await log.settle(Settlement("app.f", ("t", 0), epoch, 1, b"", [Append("t", 1, 0, None, b"y", b"")]))
    await member.subscribe(["t", "u"])
    await member.leave()
    await log.delete("u")
    await other.close()
    await log.close()
    assert joined is not None
    assert outside == []


async def test_a_write_without_the_turn_would_be_found(tmp_path, outside):
    log = await SqliteLog.open(tmp_path / "log.db")
    log._files.writer.execute("INSERT INTO meta VALUES ('by', 'hand')")
    await log.close()
    assert outside == ["INSERT INTO meta VALUES ('by', 'hand')"]
