"""Integrity: whether a log is whole, and whether anything endangers it. Reads alone, beside those who write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from headrace.triggers.brokers.sqlite import place, space
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.failure import translated
from headrace.triggers.brokers.sqlite.libraries import others_mapped
from headrace.triggers.brokers.sqlite.retention import SIZE, Store, stores
from headrace.triggers.brokers.sqlite.schema import OFFSET_MASK, recognise
from headrace.triggers.brokers.sqlite.topics import DROPPED

_FREE_SHARE = 0.25
_MOST_LINES = 20
_COUNT = f"""
SELECT count(*), min(id & {OFFSET_MASK}), max(id & {OFFSET_MASK}), coalesce(sum({SIZE}), 0), coalesce(max(ats), 0)
FROM record WHERE id >= ? AND id < ?
"""  # noqa: S608
_REFERENCES = {
    "ownership": "SELECT count(*) FROM own WHERE tp NOT IN (SELECT tp FROM part)",
    "progress": "SELECT count(*) FROM coff WHERE tp NOT IN (SELECT tp FROM part)",
    "partitions": "SELECT count(*) FROM part WHERE topic NOT IN (SELECT id FROM topic)",
}
_AHEAD = "SELECT grp, tp, off, next FROM coff JOIN part USING (tp) WHERE off > next OR off < 0"
_COUNTS = """
SELECT name, parts, count(tp) FROM topic LEFT JOIN part ON topic = topic.id GROUP BY topic.id HAVING parts <> count(tp)
"""
_RESTORE = "stop all that uses the log, keep a copy of it, and restore a backup"


class Finding(NamedTuple):
    """What was found. `severity`: "error" (something is wrong), "warning" (it may become so), "notice" (to know)."""

    severity: str
    what: str
    do: str


class Report(NamedTuple):
    """How a log is. Sizes are in bytes; `free` is what of the file holds nothing."""

    path: str
    sqlite: str
    schema: int
    filesystem: str
    bytes: int
    wal: int
    free: int
    findings: list[Finding]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong, nor about to be."""
        return all(finding.severity == "notice" for finding in self.findings)


def examine(path: Path, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Look at everything; `tell` is told what is being looked at. Raises `BrokerError` for what is no log at all."""
    try:
        with closing(Bench.open(path)) as bench:
            return _examined(bench, path, tell)
    except sqlite3.Error as error:
        raise translated(error, path) from error


def _examined(bench: Bench, path: Path, tell: Callable[[str], None]) -> Report:
    findings: list[Finding] = []
    with bench.snapshot() as connection:
        tell("pages and indexes")
        findings += _pages(connection)
        tell("partitions and their records")
        every = stores(bench)
        for store in every:
            findings += _store(connection, store)
        findings += _strays(connection, every)
        tell("groups")
        findings += _groups(connection)
        schema = recognise(connection, path)
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
        ((free,),) = connection.execute("PRAGMA freelist_count").fetchall()
    report = Report(
        path=str(path),
        sqlite=sqlite3.sqlite_version,
        schema=schema,
        filesystem=place.filesystem_at(path),
        bytes=space.size_of(path),
        wal=space.wal_bytes(path),
        free=free * size,
        findings=findings,
    )
    findings += _space(bench, report)
    findings += _hazards()
    return report


def _pages(connection: sqlite3.Connection) -> Iterator[Finding]:
    for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_LINES})").fetchall():
        if line != "ok":
            yield Finding("error", f"the file is damaged: {line}", f"{_RESTORE}, or try `sqlite3 PATH .recover`")


def _store(connection: sqlite3.Connection, store: Store) -> Iterator[Finding]:
    name = f"partition {store.number} of {store.topic!r}"
    count, first, last, size, ats = connection.execute(_COUNT, (store.base, store.base + OFFSET_MASK + 1)).fetchone()
    if count and not store.start <= first <= last < store.end:
        yield Finding(
            "error", f"{name} says it has offsets {store.start} to {store.end}, and has {first} to {last}", _RESTORE
        )
    if not 0 <= store.start <= store.end:
        yield Finding("error", f"{name} begins at {store.start} and ends at {store.end}", _RESTORE)
    if size != store.bytes:
        yield Finding(
            "error",
            f"{name} says it has {store.bytes} bytes, and has {size}",
            "`headrace log compact` counts anew; no event is affected, only retention by size",
        )
    ((last_ats,),) = connection.execute("SELECT last_ats FROM part WHERE tp = ?", (store.tp,)).fetchall()
    if ats > last_ats:
        yield Finding("error", f"{name} has records from after its last one, by its own account", _RESTORE)


def _strays(connection: sqlite3.Connection, every: list[Store]) -> Iterator[Finding]:
    ((all_,),) = connection.execute("SELECT count(*) FROM record").fetchall()
    known = sum(connection.execute(_COUNT, (one.base, one.base + OFFSET_MASK + 1)).fetchone()[0] for one in every)
    ((dropped,),) = connection.execute(
        "SELECT count(*) FROM meta WHERE k >= ? AND k < ?", (DROPPED, f"{DROPPED}~")
    ).fetchall()
    if all_ == known:
        return
    if dropped:
        yield Finding(
            "notice",
            f"{all_ - known} records of deleted topics take room still",
            "the next upkeep removes them: that of a running `headrace run`, or `headrace log compact`",
        )
    else:
        yield Finding("error", f"{all_ - known} records belong to no partition", _RESTORE)


def _groups(connection: sqlite3.Connection) -> Iterator[Finding]:
    for what, query in _REFERENCES.items():
        ((count,),) = connection.execute(query).fetchall()
        if count:
            yield Finding("error", f"{count} rows of {what} refer to what is not there", _RESTORE)
    for group, tp, off, end in connection.execute(_AHEAD).fetchall():
        yield Finding(
            "error", f"group {group!r} is at offset {off} of partition number {tp}, which ends at {end}", _RESTORE
        )
    for name, parts, count in connection.execute(_COUNTS).fetchall():
        yield Finding("error", f"topic {name!r} says it has {parts} partitions, and has {count}", _RESTORE)


def _space(bench: Bench, report: Report) -> Iterator[Finding]:
    if space.mode(bench) != space.INCREMENTAL:
        yield Finding(
            "warning",
            "the file was not made to give space back, so it never shrinks",
            "run `headrace log compact` once",
        )
    ((journal,),) = bench.read("PRAGMA journal_mode")
    if journal != "wal":
        yield Finding(
            "warning",
            f"the file's journal mode is {journal!r} and not 'wal', so readers and writers block each other",
            "run `headrace log compact` once",
        )
    if report.wal > space.WAL_ALARM:
        yield Finding(
            "warning",
            f"the -wal file has {report.wal:,} bytes: something keeps reading an old state of the log",
            "end what has the file open for long (an sqlite3 shell, a backup tool), then run `headrace log compact`",
        )
    if report.free > report.bytes * _FREE_SHARE and report.free > 16 << 20:
        yield Finding(
            "notice",
            f"{report.free:,} of the file's {report.bytes:,} bytes hold nothing",
            "a running `headrace run` gives them back, or `headrace log compact`",
        )


def _hazards() -> Iterator[Finding]:
    if place.can_damage(sqlite3.sqlite_version_info):
        yield Finding(
            "notice",
            f"SQLite {sqlite3.sqlite_version} can damage a log that one program writes while another folds its -wal in "
            "(fixed in 3.51.3, 3.50.7 and 3.44.6); headrace takes turns, so its own processes cannot",
            "let no other program write to the file or checkpoint it (an sqlite3 shell, Litestream); to look into it, "
            "open it read-only",
        )
    if others := others_mapped():
        yield Finding(
            "notice",
            f"another SQLite library is in this process: {', '.join(others)}",
            "do not open the log through it here: two libraries on one file break each other's locks",
        )
