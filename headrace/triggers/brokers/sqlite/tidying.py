"""Tidying: all chores at once, and the file written anew, for `headrace log compact`."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.triggers.brokers.sqlite import chores, place, space
from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.chores import Done, Tell
from headrace.triggers.brokers.sqlite.failure import translated
from headrace.triggers.brokers.sqlite.files import Files
from headrace.triggers.brokers.sqlite.retention import SIZE
from headrace.triggers.brokers.sqlite.users import User, users_of

AT_ONCE = 128 << 20
"""Bytes of a file that is written anew in about a second: others may be made to wait for that."""

_PATIENCE_S = 60.0
_PACE = 0.2

_COUNTED = f"(SELECT coalesce(sum({SIZE}), 0) FROM record WHERE id >= tp << 40 AND id < (tp + 1) << 40)"  # noqa: S608
_MISCOUNTED = f"SELECT tp FROM part WHERE bytes <> {_COUNTED}"  # noqa: S608
_RECOUNT = f"UPDATE part SET bytes = {_COUNTED} WHERE tp = ?"  # noqa: S608


class Tidied(NamedTuple):
    """What came of it. Sizes in bytes, of the file and its WAL together.

    `rewritten`: the file was written anew; if not, space was given back in slices, so that `users` need not wait.
    """

    before: int
    after: int
    done: Done
    rewritten: bool
    users: list[User]


def tidy(path: Path, tell: Tell = lambda *_: None) -> Tidied:
    """Do all chores of the log at `path`, due or not, and write the file anew if nobody has to wait long for it.

    Raises `BrokerError` if it has to be written anew, and is too large for that while others have it open.
    """
    place.check(path)
    if path.is_file():
        Files.open(path).close()  # brings an older one up to date
    run = path.with_name(f"{path.name}.run")
    try:
        with closing(Bench.open(path, pace=_PACE)) as bench, _alone(run):
            before = _size(path)
            done = chores.do(bench, time.time_ns() // 1_000_000, tell, thorough=True)
            for (tp,) in bench.read(_MISCOUNTED):
                with bench.slice() as connection:
                    connection.execute(_RECOUNT, (tp,))
            users = users_of(path)
            rewritten = _may_rewrite(bench, path, users)
            if rewritten:
                tell("writing the file anew", 0)
                _rewrite(bench)
            return Tidied(before, _size(path), done, rewritten, users)
    except sqlite3.Error as error:
        raise translated(error, path) from error


def _may_rewrite(bench: Bench, path: Path, users: list[User]) -> bool:
    if not users or space.size_of(path) <= AT_ONCE:
        return True
    if space.mode(bench) != space.INCREMENTAL:
        raise BrokerError(
            f"{path} has to be written anew once, during which nobody can write to it, and it is in use by "
            f"{', '.join(map(str, users))}: stop them, and try again"
        )
    return False


def _rewrite(bench: Bench) -> None:
    with bench.turn() as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")
    space.fold(bench)


def _size(path: Path) -> int:
    return space.size_of(path) + space.wal_bytes(path)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Wait until nobody else does the chores, and be the one."""
    until, pause = time.monotonic() + _PATIENCE_S, threading.Event()
    while True:
        with chores.alone(run) as is_alone:
            if is_alone:
                yield
                return
        if time.monotonic() > until:
            raise BrokerUnavailable(f"another process has been tidying up for {_PATIENCE_S:g} s: try again later")
        pause.wait(0.1)
