"""Backup: a copy of a log as it is at one moment, taken while others go on using it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.failure import translated
from headrace.triggers.brokers.sqlite.place import not_writable

_PAGES = 2048  # between two looks at how far it is

# In the copy nobody is a member of anything. Epochs stay: the next claim raises them, as ever.
_DISOWN = "UPDATE own SET owner = NULL, wanted = NULL; DELETE FROM member;"

_ELSEWHERE = "name another file for the copy"


def backup(path: Path, target: Path, tell: Callable[[int, int], None] = lambda *_: None) -> int:
    """Copy the log at `path` to the new file `target`; its bytes. `tell` gets the pages copied and the pages in all.

    The copy is a log by itself, whole and durable when this returns: a prefix of each partition, and the progress that
    belongs to it. Until then, `target` is not there. Writers go on meanwhile; their `-wal` grows for as long.
    """
    try:
        is_there = target.exists()
    except OSError as error:
        raise not_writable(target, error, _ELSEWHERE) from error
    if is_there:
        raise BrokerError(f"{target} is there already: name a file that is not, or remove it first")
    draft = target.with_name(f"{target.name}.part")
    try:
        draft.unlink(missing_ok=True)
        with closing(Bench.open(path)) as bench:
            bench.copy(draft, _PAGES, tell)
        _finish(draft)
        _sync(draft)
        draft.rename(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise translated(error, target) from error
    except OSError as error:
        raise not_writable(target, error, _ELSEWHERE) from error
    finally:
        for name in (draft.name, f"{draft.name}-wal", f"{draft.name}-shm", f"{draft.name}-journal"):
            with suppress(OSError):
                draft.with_name(name).unlink(missing_ok=True)
    return target.stat().st_size


def _finish(draft: Path) -> None:
    with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        copy.executescript(_DISOWN)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
