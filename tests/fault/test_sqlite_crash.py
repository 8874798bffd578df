"""A process that dies between any two statements: what belongs together is there together, or not at all."""

from __future__ import annotations

import gzip
import itertools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, schema

CRASH = Path(__file__).with_name("sqlite_crash.py")
VERSION_1 = Path(__file__).parents[1] / "integration" / "files" / "log-v1.db.gz"


Crash = Callable[[Path, str, int], bool]


@pytest.fixture
def crash() -> Iterator[Crash]:
    """Does a thing to a log; whether that came to its end before the n-th statement."""
    with subprocess.Popen(
        [sys.executable, CRASH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as crashing:

        def run(path: Path, action: str, n: int) -> bool:
            crashing.stdin.write(f"{path} {action} {n}\n")
            crashing.stdin.flush()
            answer = crashing.stdout.readline()
            assert answer in {"done\n", "died\n"}
            return answer == "done\n"

        yield run


def clear(directory: Path) -> None:
    for left in directory.glob("log.db*"):
        if left.is_file():
            left.unlink()


def asked(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return plain.execute(query).fetchall()


async def fresh(path: Path) -> SqliteLog:
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("in", 1), TopicSpec("out", 2)])
    return log


async def emitted(path: Path) -> list[list[bytes | None]]:
    log = await SqliteLog.open(path)
    found = [[record.value for record in (await log.read(("out", p), 0, 1000)).records] for p in range(2)]
    for p, bounds in enumerate((await log.topics())["out"].bounds):
        assert bounds.end == len(found[p])
    await log.close()
    return found


async def test_emits_what_waits_and_progress_are_one_wherever_it_dies(tmp_path, crash):
    path = tmp_path / "log.db"
    await (await fresh(path)).close()
    for n in range(1, 100):
        done = crash(path, "settle", n)
        await check_settled(path)
        if done:
            break
    assert done
    assert n > 5  # fences, rows, progress, COMMIT
    before = await check_settled(path)
    assert before < n
    assert not crash(path, "settle", 0)
    assert await check_settled(path) == before + 1


async def check_settled(path: Path) -> int:
    """Each settlement emitted its number to both partitions, and once more to wait; how many there were."""
    ((settled,),) = asked(path, "SELECT coalesce(max(off), 0) FROM coff")
    numbers = [b"%d" % number for number in range(1, settled + 1)]
    assert await emitted(path) == [numbers] * 2
    assert asked(path, "SELECT v FROM delayed ORDER BY seq") == [(number,) for number in numbers]
    return settled


async def test_an_append_made_again_after_its_process_died_anywhere_is_there_once(tmp_path, crash):
    for n in range(100):
        path = tmp_path / f"{n}.db"
        await (await fresh(path)).close()
        done = crash(path, "append", n)
        assert crash(path, "append", 1000)
        assert await emitted(path) == [[b"1"]] * 2
        assert asked(path, "SELECT v FROM delayed") == [(b"1",)]
        if done:
            break
    assert done
    assert n > 6


async def test_what_was_due_is_there_once_wherever_the_one_that_promotes_it_dies(tmp_path, crash):
    path = tmp_path / "log.db"
    log = await fresh(path)
    await log._promoter.close()
    due_ms = time.time_ns() // 1_000_000 + 2000
    await log.append([Append("out", n % 2, 0, None, b"%d" % n, b"", due_ms) for n in range(6)])
    await log.close()
    original = path.read_bytes()
    for n in range(100):
        clear(tmp_path)
        path.write_bytes(original)
        done = crash(path, "promote", n)
        ((waiting,),) = asked(path, "SELECT count(*) FROM delayed")
        ((there,),) = asked(path, "SELECT count(*) FROM record")
        assert (waiting, there) in {(6, 0), (0, 6)}
        assert crash(path, "promote", 1000)
        assert sorted(itertools.chain(*await emitted(path))) == [b"%d" % number for number in range(6)]
        if done:
            break
    assert done
    assert n > 4


async def test_a_migration_that_dies_anywhere_leaves_the_older_version_or_the_newer_one(tmp_path, crash):
    path = tmp_path / "log.db"
    versions = []
    for n in range(1, 200):
        clear(tmp_path)
        path.write_bytes(gzip.decompress(VERSION_1.read_bytes()))
        done = crash(path, "open", n)
        ((version,),) = asked(path, "SELECT v FROM meta WHERE k = 'schema'")
        lost = asked(path, "SELECT count(*) FROM pragma_table_info('coff') WHERE name = 'lost'")
        assert lost == [(int(version == schema.VERSION),)]
        versions.append(version)
        if version == 1:
            log = await SqliteLog.open(path)
            assert len(await log.lag("")) == 3
            await log.close()
        if done:
            break
    assert done
    assert versions == sorted(versions)
    assert versions.count(1) > 8
