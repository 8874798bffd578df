"""The bench: where upkeep works on a log, slice by slice, so that nobody waits long for a turn to write.

It has a connection and a turnstile of its own, and may be used beside the log's in the same process. Its transactions
are not synced one by one: what a power failure undoes of them is done again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.triggers.brokers.sqlite import place
from headrace.triggers.brokers.sqlite.schema import recognise
from headrace.triggers.brokers.sqlite.turnstile import Turnstile

_PATIENCE = 30.0
_AT_LEAST = 0.001

# Temporary tables hold the keys of a compaction: in a file, because there may be many. The WAL is
# checkpointed at 2 MiB, for upkeep may be what makes room on a disk that is nearly full.
_SET_UP = """
PRAGMA synchronous=NORMAL; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1; PRAGMA temp_store=FILE;
PRAGMA wal_autocheckpoint=500; PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-4096;
"""


class Interrupted(Exception):
    """The bench was asked to stop; what was done until then is whole."""


class Bench:
    """Made by `open`, for one thread at a time. `pace` is how long it rests after a slice, in lengths of that slice."""

    def __init__(self, path: Path, turnstile: Turnstile, connection: sqlite3.Connection, pace: float) -> None:
        self.path = path
        self._turnstile = turnstile
        self._connection = connection
        self._pace = pace
        self._inode = path.stat().st_ino
        self._stop = threading.Event()

    def __repr__(self) -> str:
        return f"<Bench at {self.path}: {'stopping' if self._stop.is_set() else 'in use'}>"

    @classmethod
    def open(cls, path: Path, *, pace: float = 1.0) -> Self:
        """Open the log at `path` (absolute), which must be there. Raises `BrokerError`; no foreign file is touched."""
        place.check(path)
        if not path.is_file():
            raise BrokerError(
                f"{path} is not there: a log is made by the first `headrace emit` or `headrace run` on it"
            )
        with Turnstile.opening(path, _PATIENCE) as turnstile:
            return cls(path, turnstile, _connected(path), pace)

    def read(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a query, as what is committed now has them. Raises `Interrupted` if it was asked to stop."""
        self._check()
        return self._connection.execute(statement, values).fetchall()

    def note(self, statement: str, rows: Sequence[Sequence[object]] = ()) -> None:
        """Write to temporary tables, for which no turn is needed."""
        if not rows:
            self._connection.execute(statement)
            return
        self._connection.execute("BEGIN")  # locks nothing of the log: it is not touched
        self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """The log as it is at one moment, to read; no turn is needed. Until its end the WAL cannot be reset."""
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT count(*) FROM meta").fetchone()
        try:
            yield self._connection
        finally:
            self._connection.execute("ROLLBACK")

    def copy(self, target: Path, pages: int, tell: Callable[[int, int], None]) -> None:
        """Copy one moment of the log to `target`; `tell` gets, every so many `pages`, those copied and all."""
        # Within one transaction of ours, because else the copy would begin anew with each commit of others.
        with self.snapshot() as connection, closing(sqlite3.connect(target)) as copy:
            connection.backup(copy, pages=pages, progress=lambda _, left, total: tell(total - left, total))

    @contextmanager
    def slice(self) -> Iterator[sqlite3.Connection]:
        """One transaction in a turn of its own, then a rest. Keep it to some milliseconds of work."""
        with self.turn() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    @contextmanager
    def turn(self) -> Iterator[sqlite3.Connection]:
        """A turn to write, without a transaction, then a rest. Raises `Interrupted` if it was asked to stop."""
        self._check()
        with self._turnstile:
            began = time.monotonic()
            self._verify()
            yield self._connection
            took = time.monotonic() - began
        # Those who queued get their turns now: the kernel wakes them, but does not keep us from being quicker.
        self._stop.wait(max(_AT_LEAST, took * self._pace))

    def stop(self) -> None:
        """Have it end after the slice under way. From any thread."""
        self._stop.set()

    def close(self) -> None:
        """Close the connection, in turn."""
        try:
            with suppress(BrokerUnavailable), self._turnstile.within(_PATIENCE):
                self._connection.close()
        finally:
            self._turnstile.close()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Interrupted

    def _verify(self) -> None:
        with suppress(FileNotFoundError):
            if os.stat(self.path).st_ino == self._inode:  # noqa: PTH116  (once per slice)
                return
        raise BrokerError(f"{self.path} was removed or replaced while it was worked on")


def _connected(path: Path) -> sqlite3.Connection:
    # Not with plain `connect(path)`, which would make a file that has gone meanwhile.
    name = f"file:{quote(os.fsencode(path))}?mode=rw"
    connection = sqlite3.connect(name, uri=True, timeout=0.1, isolation_level=None, check_same_thread=False)
    try:
        recognise(connection, path)
        connection.executescript(_SET_UP)
    except BaseException:
        connection.close()
        raise
    return connection
