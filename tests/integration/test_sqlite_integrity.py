"""What a check of the embedded log finds."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Append, Settlement, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, integrity, libraries, place, space
from headrace.triggers.brokers.sqlite.integrity import examine


class Group:
    async def assigned(self, partitions):
        self.epochs = {one.partition: one.epoch for one in partitions}

    async def revoked(self, partitions):
        pass


@pytest.fixture
async def path(tmp_path):
    """A log with two topics, and a group on one of them."""
    log = await SqliteLog.open(tmp_path / "log.db")
    await log.ensure([TopicSpec("orders", 2), TopicSpec("state", 1, cleanup="compact")])
    await log.append([Append("orders", n % 2, 0, b"k", b"x" * 50, b"") for n in range(100)])
    await log.append([Append("state", 0, 0, b"k", b"x", b"")])
    group = Group()
    member = await log.join("app.f", ["orders"], group)
    await log.settle(Settlement("app.f", ("orders", 0), group.epochs["orders", 0], 20, b""))
    await member.leave()
    await log.close()
    return log.path


def change(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def worst(report):
    return [finding for finding in report.findings if finding.severity != "notice"]


async def test_a_log_in_use_is_sound(path):
    log = await SqliteLog.open(path)
    told = []
    report = examine(path, told.append)
    assert report.is_sound, report
    assert worst(report) == []
    assert (report.schema, report.sqlite) == (2, sqlite3.sqlite_version)
    assert told
    await log.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE part SET next = 3 WHERE tp = 1", "'orders' says it has offsets 0 to 3"),
        ("UPDATE part SET start = 2 WHERE tp = 1", "'orders' says it has offsets 2 to"),
        ("UPDATE part SET start = 2, next = 1 WHERE tp = 1", "begins at 2 and ends at 1"),
        ("UPDATE part SET bytes = bytes + 7 WHERE tp = 2", "says it has"),
        ("UPDATE part SET last_ats = 5 WHERE tp = 2", "from after its last one"),
        ("UPDATE coff SET off = 1000000", "which ends at"),
        ("UPDATE coff SET tp = tp + 99", "rows of progress refer to what is not there"),
        ("UPDATE own SET tp = tp + 99", "rows of ownership refer to what is not there"),
        ("UPDATE part SET topic = 99 WHERE tp = 3", "rows of partitions refer to what is not there"),
        ("UPDATE topic SET parts = 9 WHERE name = 'orders'", "says it has 9 partitions, and has 2"),
        ("UPDATE record SET id = id + (99 << 40) WHERE id < 2 << 40", "50 records belong to no partition"),
    ],
)
async def test_what_does_not_fit_is_found_and_has_a_remedy(path, statement, says):
    change(path, statement)
    report = examine(path)
    assert not report.is_sound
    assert any(says in finding.what and finding.severity == "error" for finding in report.findings), report
    assert all(finding.do for finding in report.findings)


async def test_rests_of_a_deleted_topic_are_only_worth_a_notice(path):
    log = await SqliteLog.open(path)
    await log.delete("orders")
    await log.close()
    report = examine(path)
    assert report.is_sound
    assert any("100 records of deleted topics" in finding.what for finding in report.findings)


async def test_a_large_wal_is_a_warning(path, monkeypatch):
    monkeypatch.setattr(space, "WAL_ALARM", 1)
    log = await SqliteLog.open(path)
    await log.append([Append("orders", 0, 0, None, b"x", b"")])
    assert any("-wal file has" in finding.what for finding in worst(examine(path)))
    await log.close()


async def test_a_version_of_sqlite_that_can_damage_a_log_is_worth_a_notice(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert not any("can damage" in finding.what for finding in examine(path).findings)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    report = examine(path)
    assert any("can damage" in finding.what for finding in report.findings)
    assert report.is_sound


@pytest.mark.parametrize(
    ("version", "can"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 54, 1), False),
    ],
)
def test_which_versions_can_damage_a_log(version, can):
    assert place.can_damage(version) is can


async def test_another_library_in_this_process_is_worth_a_notice(path, monkeypatch):
    monkeypatch.setattr(integrity, "others_mapped", lambda: ["/usr/lib/apsw/apsw.so"])
    report = examine(path)
    assert any("another SQLite library" in finding.what for finding in report.findings)
    assert report.is_sound


MAPS = """\
7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f01-7f02 r--p 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f02-7f03 r-xp 00000000 08:01 2 /usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so
7f03-7f04 rw-p 00000000 00:00 0
7f05-7f06 rw-p 00000000 00:00 0 [heap]
"""


@pytest.mark.parametrize(
    "other",
    [
        "/home/me/my venv/lib/python3.11/site-packages/apsw/__init__.cpython-311-x86_64-linux-gnu.so",
        "/venv/lib/python3.11/site-packages/pysqlite3/_sqlite3.cpython-311-x86_64-linux-gnu.so",
        "/opt/lib/libsqlite3.so.0",
        "/usr/lib/libsqlcipher.so.1",
    ],
)
def test_other_libraries_are_known_by_their_names(tmp_path, monkeypatch, other):
    maps = tmp_path / "maps"
    monkeypatch.setattr(libraries, "_MAPS", maps)
    maps.write_text(MAPS)
    assert libraries.others_mapped() == []
    maps.write_text(f"{MAPS}7f06-7f07 r-xp 00000000 08:01 3 {other}\n")
    assert libraries.others_mapped() == [other]
    monkeypatch.setattr(libraries, "_MAPS", tmp_path / "none")
    assert libraries.others_mapped() == []


async def test_a_newer_log_is_not_judged(path):
    change(path, "UPDATE meta SET v = 99 WHERE k = 'schema'")
    with pytest.raises(BrokerError, match="written by a newer headrace"):
        examine(path)
