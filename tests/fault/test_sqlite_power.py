"""What a power cut may leave of the write-ahead log: cut anywhere, or with a sector that never reached the disk."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headrace.triggers.brokers.sqlite import SqliteLog

STREAM = Path(__file__).with_name("sqlite_stream.py")
COPIES = 60
TRANSACTIONS = 120
SECTOR = 512


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a log whose only process was killed, with everything still in the write-ahead log."""
    path = tmp_path_factory.mktemp("power") / "log.db"
    with subprocess.Popen([sys.executable, STREAM, path], stdout=subprocess.PIPE) as process:
        for _ in range(TRANSACTIONS):
            assert process.stdout.readline()
        process.kill()
    assert path.with_name("log.db-wal").stat().st_size > 200_000
    return path


def damaged(left: Path, directory: Path, n: int) -> Path:
    """A copy with its write-ahead log cut at a random byte, or with a random sector zeroed."""
    draw = random.Random(n)
    directory.mkdir()
    path = directory / "log.db"
    shutil.copy(left, path)
    content = bytearray(left.with_name("log.db-wal").read_bytes())
    at = draw.randrange(len(content))
    if n % 2:
        del content[at:]
    else:
        at -= at % SECTOR
        content[at : at + SECTOR] = bytes(SECTOR)
    path.with_name("log.db-wal").write_bytes(content)
    return path


async def transactions_in(path: Path) -> int:
    """How many transactions are there; each of them whole, and none after one that is missing."""
    log = await SqliteLog.open(path)
    known = await log.topics()
    bounds = known["t"].bounds if "t" in known else []
    found = [[int(r.value) for r in (await log.read(("t", p), 0, 100_000)).records] for p in range(len(bounds))]
    lags = await log.lag("app.f")
    await log.close()
    settled = lags[0].committed if lags else 0
    assert [end for _, end in bounds] == [len(each) for each in found]
    assert lags == [] or lags[0].progress == b"%d" % settled
    if bounds:
        assert found[1] == list(range(1, settled + 1))
        assert found[0] == [n for n in range(1, settled + 1) for _ in range(n % 5 + 1)]
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return settled


async def test_what_is_left_is_an_exact_prefix_of_whole_transactions(left, tmp_path):
    counts = [await transactions_in(damaged(left, tmp_path / f"{n}", n)) for n in range(COPIES)]
    assert max(counts) >= TRANSACTIONS // 2
    assert len(set(counts)) > COPIES // 3
    assert min(counts) < TRANSACTIONS // 4


async def test_undamaged_all_that_was_acknowledged_is_there(left, tmp_path):
    shutil.copy(left, tmp_path / "log.db")
    shutil.copy(left.with_name("log.db-wal"), tmp_path / "log.db-wal")
    assert await transactions_in(tmp_path / "log.db") >= TRANSACTIONS
