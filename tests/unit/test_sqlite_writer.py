"""The writer: what goes together, who pays, and what is answered when it cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, failure, writer
from headrace.triggers.brokers.sqlite.files import Files
from headrace.triggers.brokers.sqlite.turnstile import Turnstile
from headrace.triggers.brokers.sqlite.writer import Writer


@pytest.fixture
async def log(tmp_path):
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("t", 1)])
    yield log
    await log.close()


def one(value: object, timestamp: int = 0) -> Append:
    return Append("t", 0, timestamp, None, value, b"")


async def test_the_settings_that_make_a_commit_durable_are_in_force(tmp_path):
    files = await asyncio.to_thread(Files.open, tmp_path / "log.db")

    def pragma(name: str) -> object:
        return files.writer.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("journal_mode"), pragma("synchronous"), pragma("auto_vacuum")) == ("wal", 2, 2)
    assert files.reader.execute("PRAGMA query_only").fetchone()[0] == 1
    await asyncio.to_thread(files.close)


async def test_what_waits_becomes_one_commit(tmp_path):
    files = await asyncio.to_thread(Files.open, tmp_path / "log.db")
    commits = []
    writing = Writer(files, commits.append)
    with Turnstile(files.turnstile.path):  # of its own: nobody gets a turn
        calls = [asyncio.create_task(writing.do(id)) for _ in range(100)]
        await asyncio.sleep(0)
    transactions = await asyncio.gather(*calls)
    assert len(set(transactions)) == len(commits) == 1
    await writing.close()
    await asyncio.to_thread(files.close)


@pytest.mark.parametrize("bad", [one("text, not bytes"), one(7), one(b"x", 1 << 70), one(b"x", None)])
async def test_a_record_that_cannot_be_written_is_refused_alone(log, bad):
    calls = [log.append([one(b"%d" % n)]) for n in range(5)]
    *good, refused = await asyncio.gather(*calls, log.append([one(b"first"), bad]), return_exceptions=True)
    assert isinstance(refused, BrokerError)
    assert [position.offset for (position,) in good] == list(range(5))
    fetched = await log.read(("t", 0), 0, 10)
    assert [record.value for record in fetched.records] == [b"%d" % n for n in range(5)]


async def test_a_cancelled_caller_does_not_disturb_the_others(log):
    calls = [asyncio.create_task(log.append([one(b"%d" % n)])) for n in range(10)]
    await asyncio.sleep(0)
    calls[3].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[3], asyncio.CancelledError)
    fetched = await log.read(("t", 0), 0, 10)
    stored = {record.offset: record.value for record in fetched.records}
    assert [stored[answers[n][0].offset] for n in range(10) if n != 3] == [b"%d" % n for n in range(10) if n != 3]


async def test_a_turn_that_does_not_come_is_unavailable_and_is_not_made_up_for_later(log, monkeypatch):
    monkeypatch.setattr(writer, "_PATIENCE", 0.05)
    with Turnstile(log.path.with_name("log.db.lock")):
        with pytest.raises(BrokerUnavailable, match=r"another process holds .*log\.db\.lock.*fuser"):
            await log.append([one(b"late")])
        assert list((await log.read(("t", 0), 0, 10)).records) == []
    monkeypatch.setattr(writer, "_PATIENCE", 30.0)
    (position,) = await log.append([one(b"next")])
    assert position.offset == 0


async def test_an_outside_writer_is_waited_for_and_named(log, monkeypatch):
    outside = sqlite3.connect(log.path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    log._files.writer.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(BrokerUnavailable, match=r"another program keeps .* locked"):
        await log.append([one(b"x")])
    outside.execute("ROLLBACK")
    outside.close()
    (position,) = await log.append([one(b"x")])
    assert position.offset == 0


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (sqlite3.SQLITE_FULL, BrokerUnavailable, "is full"),
        (sqlite3.SQLITE_IOERR | 3 << 8, BrokerUnavailable, "Check its disk"),
        (sqlite3.SQLITE_READONLY, BrokerError, "not writable"),
        (sqlite3.SQLITE_CORRUPT, BrokerError, "recover"),
        (sqlite3.SQLITE_ERROR, BrokerError, "refused"),
    ],
)
def test_errors_of_sqlite_become_ours_with_a_remedy(tmp_path, code, kind, message):
    error = sqlite3.OperationalError("it said so")
    error.sqlite_errorcode = code
    ours = failure.translated(error, tmp_path / "log.db")
    assert type(ours) is kind
    assert message in str(ours)
    assert str(tmp_path / "log.db") in str(ours)
    assert ours.__cause__ is error
