"""Fifteen hundred timers, and processes that are killed while they bring them in: none early, none lost, none twice."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog

TIMERS = 1500
PROMOTER = Path(__file__).with_name("sqlite_promoter.py")


class Promoters:
    """Two processes that promote, each started anew when it is killed."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, PROMOTER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.kills = 0
        self._ready()

    def kill(self, which: int) -> None:
        self._process.stdin.write(f"{which}\n")
        self._process.stdin.flush()
        self._ready()
        self.kills += 1

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def _ready(self) -> None:
        assert self._process.stdout.readline() == "ready\n"


@pytest.fixture
async def log(tmp_path):
    """A client that promotes nothing itself."""
    log = await SqliteLog.open(tmp_path / "log.db")
    await log._promoter.close()
    await log.ensure([TopicSpec("t", 4)])
    yield log
    await log.close()


def appends(draw: random.Random, begin_ms: int, span_ms: int) -> list[Append]:
    dues = [begin_ms + draw.randrange(span_ms) for _ in range(TIMERS)]
    return [Append("t", -1, due, b"%d" % n, b"%d" % n, b"", due) for n, due in enumerate(dues)]


async def count(log: SqliteLog) -> int:
    return sum(bounds.end for bounds in (await log.topics())["t"].bounds)


async def until_all_are_there(log: SqliteLog) -> None:
    async with asyncio.timeout(60):
        while await count(log) < TIMERS:
            await log.changed(1)


def check(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as plain:
        rows = plain.execute("SELECT v, ts, ats FROM record").fetchall()
        assert plain.execute("SELECT count(*) FROM delayed").fetchall() == [(0,)]
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert Counter(value for value, _, _ in rows) == Counter(b"%d" % n for n in range(TIMERS))
    assert [row for row in rows if row[2] < row[1]] == []


async def test_none_is_early_none_lost_and_none_twice_with_two_that_promote(log):
    promoters = Promoters(log.path)
    timers = appends(random.Random(1), time.time_ns() // 1_000_000, 1500)
    for first in range(0, len(timers), 5):
        await log.append(timers[first : first + 5])
    await until_all_are_there(log)
    promoters.close()
    check(log.path)


async def test_nor_when_they_are_killed_again_and_again(log):
    draw = random.Random(2)
    promoters = Promoters(log.path)
    await log.append(appends(draw, time.time_ns() // 1_000_000 + 100, 3000))
    while await count(log) < TIMERS:
        await log.changed(draw.random() * 0.1)
        promoters.kill(draw.randrange(2))
    promoters.close()
    assert promoters.kills
    check(log.path)


async def test_what_was_due_while_nobody_was_there_comes_when_somebody_is(log):
    await log.append(appends(random.Random(3), time.time_ns() // 1_000_000, 100))
    promoters = Promoters(log.path)
    await until_all_are_there(log)
    promoters.close()
    check(log.path)
