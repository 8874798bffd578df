"""The tables of a log file, and whether a file is one.

`record.id` packs partition and offset (`tp << 40 | offset`: 8 million partitions, 10^12 records each), so that one
B-tree holds the log in reading order and needs no index. `ats` is when a record was appended, never going back within a
partition; `ts` is the timestamp it was given. `h` is a header block. NULL in `k` is no key, in `v` a tombstone.
`own` fences: a settlement must name the owner and epoch of its partition (see `coordinator`; `since`, and a `beat`, are
milliseconds of the monotonic clock of one boot). `coff` is the progress of groups; its `lost`
counts records that retention took before the group had read them. `delayed` holds what enters its topic at `due`
(milliseconds since 1970). `producer` holds the answers to appends that may be made again (see `producers`).
Files of older versions are brought up to this one by `migration`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from uuid import uuid4

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite.migration import migrate

VERSION = 2
OFFSET_BITS = 40
OFFSET_MASK = (1 << OFFSET_BITS) - 1

# Says in the file's header whose it is ("hdrc"); see the SQLite documentation of PRAGMA application_id.
_APPLICATION = 0x68647263

# What lives no longer than the processes that use it: a migration makes these anew.
PASSING = """
CREATE TABLE member(
  grp TEXT NOT NULL, id TEXT NOT NULL, topics TEXT NOT NULL, beat INTEGER NOT NULL, session INTEGER NOT NULL,
  boot TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, PRIMARY KEY(grp, id)) STRICT, WITHOUT ROWID;
CREATE TABLE producer(
  id TEXT PRIMARY KEY, born INTEGER NOT NULL, at INTEGER NOT NULL, answers BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX producer_born ON producer(born);
"""

_TABLES = f"""
CREATE TABLE meta(k TEXT PRIMARY KEY, v ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE topic(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, parts INTEGER NOT NULL, conf TEXT NOT NULL) STRICT;
CREATE TABLE part(
  tp INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, p INTEGER NOT NULL,
  start INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0, last_ats INTEGER NOT NULL DEFAULT 0, UNIQUE(topic, p)) STRICT;
CREATE TABLE record(
  id INTEGER PRIMARY KEY, ats INTEGER NOT NULL, ts INTEGER NOT NULL, k BLOB, v BLOB, h BLOB NOT NULL) STRICT;
CREATE TABLE grp(name TEXT PRIMARY KEY, gen INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE own(
  grp TEXT NOT NULL, tp INTEGER NOT NULL, owner TEXT, wanted TEXT, epoch INTEGER NOT NULL, since INTEGER,
  PRIMARY KEY(grp, tp)) STRICT, WITHOUT ROWID;
CREATE TABLE coff(
  grp TEXT NOT NULL, tp INTEGER NOT NULL, off INTEGER NOT NULL, meta BLOB NOT NULL, at INTEGER NOT NULL,
  lost INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(grp, tp)) STRICT, WITHOUT ROWID;
CREATE TABLE delayed(
  due INTEGER NOT NULL, seq INTEGER NOT NULL, topic INTEGER NOT NULL, p INTEGER NOT NULL, ts INTEGER NOT NULL,
  k BLOB, v BLOB, h BLOB NOT NULL, PRIMARY KEY(due, seq)) STRICT, WITHOUT ROWID;
{PASSING}"""


def prepare(connection: sqlite3.Connection, path: Path) -> str:
    """Create the tables in an empty file, or check those of a log, migrated if need be; the log's id (its `cluster`).

    To be called within the turnstile. A file that is not ours is refused untouched, with `BrokerError`.
    """
    if _is_empty(connection):
        _create(connection, path)
    if recognise(connection, path) < VERSION:
        migrate(connection, VERSION, PASSING)
    ((cluster,),) = connection.execute("SELECT v FROM meta WHERE k = 'cluster'").fetchall()
    return str(cluster)


def recognise(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a log. Raises `BrokerError` for a file that is not ours, or of a newer version."""
    if _pragma(connection, "application_id") != _APPLICATION:
        raise BrokerError(f"{path} is an SQLite file of another program, not a headrace log: choose another path")
    ((version,),) = connection.execute("SELECT v FROM meta WHERE k = 'schema'").fetchall()
    if version > VERSION:
        raise BrokerError(
            f"{path} was written by a newer headrace (its schema is {version}, this one knows {VERSION}): "
            "upgrade headrace, or choose another path"
        )
    return int(version)


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return tables == 0 and _pragma(connection, "application_id") == 0 and _pragma(connection, "user_version") == 0


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect only before the first table
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise BrokerError(f"the filesystem of {path} has no shared memory for SQLite's WAL: put it on a local disk")
    # One script, one transaction: whoever dies in the middle leaves an empty file.
    connection.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id={_APPLICATION}; {_TABLES}")
    connection.execute("INSERT INTO meta VALUES ('schema', ?), ('cluster', ?)", (VERSION, str(uuid4())))
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
