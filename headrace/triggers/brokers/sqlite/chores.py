"""The chores of a log: retention, compaction, space, the rests of deleted topics. One process at a time does them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.triggers.brokers.sqlite import compaction, retention, space
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.place import not_writable
from headrace.triggers.brokers.sqlite.retention import ROWS, Loss, Trimmed
from headrace.triggers.brokers.sqlite.topics import DROPPED

_REST = "DELETE FROM record WHERE id IN (SELECT id FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)"

Tell = Callable[[str, int], None]
"""Told what is being done, and how much of it a slice did: records, or pages of space."""


@dataclass(slots=True)
class Done:
    """What was done. Mutable: it grows with each chore."""

    records: int = 0
    compacted: int = 0
    given_back: int = 0
    losses: list[Loss] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.records or self.compacted or self.given_back)


@contextmanager
def alone(run: Path) -> Iterator[bool]:
    """Whether nobody else does the chores of the log whose run directory this is; until the end nobody does."""
    path = run / "upkeep.lock"
    try:
        run.mkdir(mode=0o700, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def do(bench: Bench, now_ms: int, tell: Tell = lambda *_: None, *, thorough: bool = False) -> Done:
    """Do what is due; with `thorough` all that can be done, due or not. `bench` may be interrupted."""
    done = Done()
    _clear_away(bench, done, lambda n: tell("deleted topics", n))
    for store in retention.stores(bench):
        if retention.is_overdue(bench, store, now_ms):
            trimmed = retention.trim(bench, store, now_ms, lambda n: tell("retention", n))
            done.records += trimmed.records
            done.losses += trimmed.losses
    for store in retention.stores(bench):
        compacted = _compacted(bench, store, now_ms, lambda n: tell("compaction", n), thorough=thorough)
        done.compacted += compacted.records
    if thorough or space.is_overdue(bench):
        done.given_back = space.give_back(bench, lambda n: tell("space", n), all_of_it=thorough)
    if thorough or space.is_wal_large(bench.path):
        space.fold(bench)
    return done


def _compacted(
    bench: Bench, store: retention.Store, now_ms: int, tell: Callable[[int], None], *, thorough: bool
) -> Trimmed:
    if compaction.is_overdue(bench, store, now_ms) or (thorough and "compact" in store.spec.cleanup):
        return compaction.compact(bench, store, now_ms, tell)
    return Trimmed()


def _clear_away(bench: Bench, done: Done, tell: Callable[[int], None]) -> None:
    """Delete the records of topics that are deleted; their numbers are never used again."""
    for name, tp in bench.read("SELECT k, v FROM meta WHERE k >= ? AND k < ?", (DROPPED, f"{DROPPED}~")):
        first, after = retention.range_of(tp)
        deleted = ROWS
        while deleted == ROWS:
            with bench.slice() as connection:
                deleted = connection.execute(_REST, (first, after, ROWS)).rowcount
                if deleted < ROWS:
                    connection.execute("DELETE FROM meta WHERE k = ?", (name,))
            done.records += deleted
            tell(deleted)
