"""A log of an older version is brought up to date when it is opened, whole or not at all.

`files/log-v1.db.gz` was made by the code of version 1: 30 events on `orders` (3 partitions), 3 on `emails`, and the
progress of the group `shop.confirm`, whose member was closed without leaving.
"""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Append, Bounds, Lag, Settlement
from headrace.sandbox.headers import unpack
from headrace.triggers.brokers.sqlite import SqliteLog, migration, schema

ORIGINAL = Path(__file__).with_name("files") / "log-v1.db.gz"
CLUSTER = "957bc33a-53f0-4f54-8a63-dab95de576d0"


class Group:
    async def assigned(self, partitions):
        self.partitions = {one.partition: one for one in partitions}

    async def revoked(self, partitions):
        pass


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    path.write_bytes(gzip.decompress(ORIGINAL.read_bytes()))
    return path


def shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The columns of each table."""
    with closing(sqlite3.connect(path)) as plain:
        tables = [name for (name,) in plain.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: sorted(row[1:] for row in plain.execute(f"SELECT * FROM pragma_table_info('{name}')"))
            for name in tables
        }


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as plain:
        ((number,),) = plain.execute("SELECT v FROM meta WHERE k = 'schema'").fetchall()
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return number


async def test_records_topics_progress_and_the_id_of_a_version_1_log_are_kept(old):
    assert version(old) == 1
    log = await SqliteLog.open(old)
    assert log.cluster == CLUSTER
    topics = await log.topics()
    assert {name: info.bounds for name, info in topics.items()} == {
        "orders": [Bounds(0, 10)] * 3,
        "emails": [Bounds(0, 3)],
    }
    assert (topics["orders"].spec.retention_ms, topics["emails"].spec.cleanup) == (86_400_000, "compact")
    for partition in range(3):
        records = (await log.read(("orders", partition), 0, 100)).records
        assert [record.value for record in records] == [
            None if n == 13 else b'{"n": %d}' % n for n in range(partition, 30, 3)
        ]
        assert [record.key for record in records] == [
            b"customer-%d" % (n % 5) if n % 7 else None for n in range(partition, 30, 3)
        ]
        assert list(unpack(records[0].headers)) == [
            ("ce_id", b"id-%d" % partition),
            ("x", b"\xff\x00"),
            ("x", b"twice"),
        ]
    assert await log.lag("") == [Lag("shop.confirm", ("orders", p), 4 + p, 10, b"progress-%d" % p) for p in range(3)]
    await log.close()
    assert version(old) == schema.VERSION


async def test_a_migrated_log_has_the_tables_of_a_new_one(old, tmp_path):
    for path in (old, tmp_path / "new.db"):
        await (await SqliteLog.open(path)).close()
    assert shape(old) == shape(tmp_path / "new.db")


async def test_a_group_goes_on_where_it_was_under_a_new_epoch(old):
    log = await SqliteLog.open(old)
    group = Group()
    member = await log.join("shop.confirm", ["orders"], group)
    assert {p: (one.epoch, one.watermark, one.progress) for (_, p), one in group.partitions.items()} == {
        p: (2, 4 + p, b"progress-%d" % p) for p in range(3)
    }
    await log.settle(
        Settlement("shop.confirm", ("orders", 0), 2, 9, b"on", [Append("emails", 0, 0, b"k", b"new", b"")])
    )
    assert (await log.read(("emails", 0), 3, 9)).records[0].value == b"new"
    await member.leave()
    await log.close()


@pytest.mark.parametrize("step", range(7))
def test_a_migration_that_ends_in_the_middle_leaves_the_older_version(old, monkeypatch, step):
    statements = migration._statements(1, schema.VERSION, schema.PASSING)
    assert len(statements) >= 6
    cut = [*statements[:step], "this is no statement", *statements[step:]]
    before = shape(old)
    with monkeypatch.context() as patch, closing(sqlite3.connect(old, isolation_level=None)) as connection:
        patch.setattr(migration, "_statements", lambda *_: cut)
        with pytest.raises(sqlite3.OperationalError):
            schema.prepare(connection, old)
    assert (version(old), shape(old)) == (1, before)
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        assert schema.prepare(connection, old) == CLUSTER
    assert version(old) == schema.VERSION


async def test_a_version_that_is_newer_than_this_code_is_refused_and_left_alone(old):
    with closing(sqlite3.connect(old)) as newer:
        newer.execute("UPDATE meta SET v = ? WHERE k = 'schema'", (schema.VERSION + 1,))
        newer.commit()
    with pytest.raises(BrokerError, match=r"written by a newer headrace.*upgrade headrace, or choose another path"):
        await SqliteLog.open(old)
    assert version(old) == schema.VERSION + 1
