"""The open files of a log: its connections and its turnstile, opened together and closed together."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite import libraries, place, schema
from headrace.triggers.brokers.sqlite.turnstile import Turnstile

_PATIENCE = 30.0

# fullfsync is for macOS, where fsync alone does not reach the disk. The WAL is checkpointed at 16 MiB, and cut to 64.
_DURABLE = """
PRAGMA synchronous=FULL; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;
PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384;
"""


@dataclass(frozen=True, slots=True)
class Files:
    """What is open of a log. One connection each for the writer's thread, the reader's thread, and, `watch`, the loop.

    Nothing but SQLite may open the file or its `-shm`: closing any descriptor of them drops this process's locks.
    """

    path: Path
    inode: int
    cluster: str
    turnstile: Turnstile
    writer: sqlite3.Connection
    reader: sqlite3.Connection
    watch: sqlite3.Connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open, or create, the log at `path` (absolute). Raises `BrokerError` for a place or file that cannot be."""
        place.check(path)
        libraries.entered(path)
        try:
            with Turnstile.opening(path, _PATIENCE) as turnstile:
                cluster, connections = _connect_all(path)
                return cls(path, path.stat().st_ino, cluster, turnstile, *connections)
        except BaseException:
            libraries.left(path)
            raise

    @property
    def run(self) -> Path:
        """The directory for what lives only as long as the processes that use the log."""
        return run_folder_of(self.path)

    def verify(self) -> None:
        """Raise `BrokerError` if the path names another file by now: writes would be lost with the old one."""
        try:
            inode = os.stat(self.path).st_ino  # noqa: PTH116  (once per commit)
        except FileNotFoundError:
            inode = -1
        if inode != self.inode:
            raise BrokerError(
                f"{self.path} was removed or replaced while it was open; nothing was written: start again"
            )

    def close(self) -> None:
        """Close the connections in turn; the last process to close folds the WAL into the file."""
        try:
            with self.turnstile.within(_PATIENCE):
                for connection in (self.watch, self.reader, self.writer):
                    connection.close()
        finally:
            self.turnstile.close()
            libraries.left(self.path)


def run_folder_of(path: Path) -> Path:
    """The `Files.run` of a log that need not be open."""
    return path.with_name(f"{path.name}.run")


def _connect_all(path: Path) -> tuple[str, list[sqlite3.Connection]]:
    connections: list[sqlite3.Connection] = []
    try:
        # One thread at a time uses a connection, but not the one that opened it. The watch looks from the event loop,
        # where nothing may wait.
        connections.extend(
            sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
            for patience in (5.0, 5.0, 0.0)
        )
        writer, *readers = connections
        cluster = schema.prepare(writer, path)
        writer.executescript(_DURABLE)
        for reader in readers:
            reader.execute("PRAGMA query_only=1")
            reader.execute("SELECT count(*) FROM meta").fetchone()  # maps the WAL's index, mending it, within our turn
    except BaseException:
        for connection in connections:  # within our turn too: the last one closed checkpoints
            connection.close()
        raise
    return cluster, connections
