"""Fifty edits of every kind while `headrace dev` handles a stream: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from fault.dev_project import Project
from fault.soak_results import SOAK, keep

from headrace import Item, connect
from headrace.producer import Log

EVENTS = 200_000 if SOAK else 20_000
EDITS = 500 if SOAK else 50
KEYS = 40
BATCH = 100
PATIENCE_S = 120.0


class Dev:
    """A running `headrace dev --json`, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self.attempts: list[dict[str, Any]] = []  # of the function `note`
        self._moved = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    def told(self, kind: str) -> Coroutine[Any, Any, None]:
        """What waits for a document of that kind, of those said from now on."""
        return self._told(kind, len(self.said))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert not self._reading.done(), f"it has ended, having said {self.said[-3:]}"
                self._moved.clear()
                await self._moved.wait()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        await self._reading
        return await self.process.wait()

    async def _told(self, kind: str, since: int) -> None:
        await self.until(lambda: any(one["kind"] == kind for one in self.said[since:]))

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            is_attempt = said["kind"] == "attempt"
            if not is_attempt:
                self.said.append(said)
            elif said["function"] == "note":
                self.attempts.append(said)
            self._moved.set()
        self._moved.set()


@asynccontextmanager
async def dev_of(folder: Path) -> AsyncIterator[Dev]:
    command = [sys.executable, "-m", "headrace", "dev", "functions.py", "--app", "app", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    with (folder.parent / "stderr.txt").open("w") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=stderr, limit=1 << 24
        )
        try:
            yield Dev(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class Stream:
    """Events that are emitted without end, and what came out of them."""

    def __init__(self, log: Log, path: Path, dev: Dev) -> None:
        self.emitted = 0
        self._log = log
        self._dev = dev
        self._path = path

    async def emit(self) -> None:
        """One batch more, and wait until it was handled."""
        numbers = range(self.emitted, self.emitted + BATCH)
        self.emitted += BATCH
        await self._log.emit_many("in", [Item({"n": n}, key=f"k{n % KEYS}") for n in numbers])
        await self._dev.until(lambda: len(self._dev.attempts) >= self.emitted)

    async def until(self, version: int, word: int) -> None:
        """Emit until what comes out is of this edition."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.emit()
                (last,) = self.out(last=1)
                if last["version"] >= version and last["word"] >= word:
                    return

    def out(self, last: int = 1 << 30) -> list[dict[str, Any]]:
        """The last of what came out, in the order it was appended."""
        rows = self._query(
            "SELECT k, v FROM record JOIN part ON tp = record.id >> 40 JOIN topic ON topic = topic.id "
            "WHERE name = 'out' ORDER BY ats DESC, record.id DESC LIMIT ?",
            last,
        )
        return [{**json.loads(value), "key": key.decode()} for key, value in reversed(rows)]

    def ownership(self) -> list[tuple[Any, ...]]:
        """Who has the partitions of `note`, and in which epoch."""
        return self._query("SELECT tp, owner, epoch FROM own WHERE grp = 'app.note' ORDER BY tp")

    def _query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as plain:
            return plain.execute(statement, values).fetchall()


@asynccontextmanager
async def stream_of(folder: Path, dev: Dev) -> AsyncIterator[Stream]:
    path = folder / ".headrace" / "log.db"
    async with connect(f"sqlite:{path}") as log:
        yield Stream(log, path, dev)


@pytest.mark.timeout(3600 if SOAK else 600)
@pytest.mark.skipif(not shutil.which("git"), reason="one of the edits is a git checkout, and there is no git")
async def test_fifty_edits_during_a_stream_lose_and_double_nothing(tmp_path: Path) -> None:
    (folder := tmp_path / "project").mkdir()
    dice = random.Random(20261121)
    project = Project(folder, tmp_path / "twin", dice)
    edits = project.kinds * (EDITS // len(project.kinds))
    dice.shuffle(edits)
    async with dev_of(folder) as dev:
        await dev.told("serving")
        async with stream_of(folder, dev) as stream:
            await stream.emit()
            before = stream.ownership()
            for edit in edits:
                await asyncio.gather(stream.emit(), edit(dev.told))
                await stream.until(project.state.version, project.state.word)
            while stream.emitted < EVENTS:
                await stream.emit()
            assert stream.ownership() == before, "no rebalance"
            out = stream.out()
            assert await dev.stop() == 0
    assert len(edits) >= EDITS
    keep("edits during a stream", edits=len(edits), events=stream.emitted)
    check_each_once_and_in_order(out, stream.emitted)
    check_editions(out, dev.attempts)


def check_each_once_and_in_order(out: Sequence[dict[str, Any]], emitted: int) -> None:
    assert sorted(one["n"] for one in out) == list(range(emitted)), "each event has its follow-up exactly once"
    by_key = defaultdict(list)
    for one in out:
        by_key[one["key"]].append((one["n"], one["version"], one["word"]))
    for key, told in by_key.items():
        for which in range(3):
            values = [one[which] for one in told]
            assert values == sorted(values), f"{key} is in order, and its code never goes back"


def check_editions(out: Sequence[dict[str, Any]], attempts: Sequence[dict[str, Any]]) -> None:
    """Each event was handled once, by the code that its fingerprint says."""
    code_at = {f"{one['partition']}/{one['offset']}": one["code"] for one in attempts}
    assert len(code_at) == len(attempts) == len(out), "no event had two attempts"
    assert {(one["outcome"], one["attempt"]) for one in attempts} == {("done", 1)}
    editions = defaultdict(set)
    for one in out:
        editions[code_at[one["place"]]].add((one["version"], one["word"]))
    assert all(len(found) == 1 for found in editions.values()), "one fingerprint is one code"
    assert len({edition for found in editions.values() for edition in found}) > EDITS
