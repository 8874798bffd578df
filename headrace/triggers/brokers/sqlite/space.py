"""Space: pages that deletions left free are given back to the disk, and the WAL is kept from growing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from headrace.triggers.brokers.sqlite.bench import Bench

WAL_ALARM = 256 << 20
"""Bytes of a WAL that says somebody keeps it from being reset."""

_WAL_LARGE = 64 << 20
_PAGES = 256  # in a turn: a megabyte, some milliseconds
_FEW = 64
_FREE_MOST, _FREE_LEAST = 0.10, 0.02  # of the file: begins over the first, ends at the second
INCREMENTAL = 2


def is_overdue(bench: Bench) -> bool:
    """Whether enough of the file is free to give some of it back."""
    free, pages = _free(bench)
    return free > max(_FEW, pages * _FREE_MOST) and mode(bench) == INCREMENTAL


def give_back(bench: Bench, tell: Callable[[int], None] = lambda _: None, *, all_of_it: bool = False) -> int:
    """Give free pages back to the disk, in slices; the bytes given back. Nothing where the file was not made for it."""
    if mode(bench) != INCREMENTAL:
        return 0
    ((page_size,),) = bench.read("PRAGMA page_size")
    given = 0
    free, pages = _free(bench)
    while free > (0 if all_of_it else pages * _FREE_LEAST):
        with bench.turn() as connection:
            # Not `execute`: it would take one step of the statement, which frees one page.
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        now, pages = _free(bench)
        if now >= free:  # writers are using it up
            break
        given += (free - now) * page_size
        tell(free - now)
        free = now
    if given:
        fold(bench)
    return given


def fold(bench: Bench) -> bool:
    """Write the WAL into the file and cut it off; whether that was possible, with readers about."""
    with bench.turn() as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def is_wal_large(path: Path) -> bool:
    """Whether the WAL has grown well beyond the size at which it is written into the file."""
    return wal_bytes(path) > _WAL_LARGE


def wal_bytes(path: Path) -> int:
    """The size of a log's WAL."""
    return size_of(path.with_name(f"{path.name}-wal"))


def size_of(path: Path) -> int:
    """The size of a file; 0 if it is not there. By its name: to open and close it would drop SQLite's locks."""
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


def mode(bench: Bench) -> int:
    """How the file gives space back; see the SQLite documentation of PRAGMA auto_vacuum."""
    ((found,),) = bench.read("PRAGMA auto_vacuum")
    return int(found)


def _free(bench: Bench) -> tuple[int, int]:
    ((free,),), ((pages,),) = bench.read("PRAGMA freelist_count"), bench.read("PRAGMA page_count")
    return free, pages
