"""The reader: reads on a connection and a thread of its own, so that neither the loop nor the writer waits for it.

What is small it reads on the loop: the way to a thread and back takes longer than that (0.3 of 0.5 ms). Always to the
end of a statement: an open cursor would keep the WAL from being reset.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import starmap
from typing import NamedTuple, TypeVar

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Bounds, Fetched, Partition, Record
from headrace.triggers.brokers.refusal import no_partition, unknown_topic
from headrace.triggers.brokers.sqlite.failure import translated
from headrace.triggers.brokers.sqlite.files import Files
from headrace.triggers.brokers.sqlite.schema import OFFSET_BITS, OFFSET_MASK

T = TypeVar("T")

# A bound on the memory of one fetch, whatever its limit in records: values are up to a megabyte each.
MOST_BYTES = 4 << 20
A_FEW = 64
"""As many records as may be read on the loop."""
_PAGE = 16

_Row = tuple[int, int, bytes | None, bytes | None, bytes]

_RANGE = f"SELECT id & {OFFSET_MASK}, ts, k, v, h FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"  # noqa: S608
_AT = "SELECT id, ats FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
_PART = "SELECT tp, start, next FROM part JOIN topic ON topic = id WHERE name = ? AND p = ?"


class Want(NamedTuple):
    """A partition to fetch from, by its number in the file, and from where."""

    tp: int
    partition: Partition
    offset: int


class Reader:
    """Runs reads one after another on its thread. A read sees all that was committed before it began."""

    def __init__(self, files: Files) -> None:
        self.numbers: dict[Partition, int] = {}  # as they were found last
        self._files = files
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"headrace-reader {files.path.name}")

    def __repr__(self) -> str:
        return f"<Reader: {'closed' if self._closed else 'open'}>"

    async def do(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `read`, called with the connection. Raises `BrokerError` for what SQLite cannot read."""
        if self._closed:
            raise BrokerUnavailable(f"the log {self._files.path} is closed: open it again to read from it")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, read, self._files.reader)
        except sqlite3.Error as error:
            raise translated(error, self._files.path) from error

    def glance(self, read: Callable[[sqlite3.Connection], T]) -> T | None:
        """The result of `read`, which must be small, at once; None where it has to be read by `do`."""
        if self._closed:
            return None
        try:
            return read(self._files.watch)
        except sqlite3.Error:
            return None

    async def close(self) -> None:
        """Finish the reads under way, and no more."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)


def fetch(connection: sqlite3.Connection, wants: Sequence[Want], limit: int) -> list[Fetched]:
    """Up to `limit` records, shared evenly between those of `wants` that have some."""
    ends = [_end(connection, want.tp) for want in wants]
    ready = [(want, end) for want, end in zip(wants, ends, strict=True) if want.offset < end]
    found: list[Fetched] = []
    for waiting, (want, end) in zip(range(len(ready), 0, -1), ready, strict=True):
        share = -(-limit // waiting)
        if share <= 0:
            break
        found.append(_range(connection, want, end, share))
        limit -= len(found[-1].records)
    return found


def read(
    connection: sqlite3.Connection, partition: Partition, offset: int, limit: int, numbers: dict[Partition, int]
) -> Fetched:
    """Up to `limit` records of a partition from `offset` on. Raises what `locate` raises.

    `numbers` keeps the numbers of partitions from one time to the next: one that was given is never given again.
    """
    tp = numbers.get(partition, -1)
    if not (end := _end(connection, tp)):  # not known, gone, or empty
        tp, (_, end) = locate(connection, partition)
        numbers[partition] = tp
    if offset >= end or limit <= 0:
        return Fetched(partition, [], offset)
    return _range(connection, Want(tp, partition, offset), end, limit)


def locate(connection: sqlite3.Connection, partition: Partition) -> tuple[int, Bounds]:
    """The number and bounds of a partition. Raises `UnknownTopic`, and `BrokerError` for a partition not there."""
    topic, number = partition
    if row := connection.execute(_PART, (topic, number)).fetchone():
        tp, start, end = row
        return tp, Bounds(start, end)
    names = dict(connection.execute("SELECT name, parts FROM topic").fetchall())
    if topic in names:
        raise no_partition(topic, number, names[topic])
    raise unknown_topic(topic, names)


def offset_at(connection: sqlite3.Connection, partition: Partition, timestamp_ms: int) -> int:
    """The first offset appended at or after `timestamp_ms`, by bisection: append times never go back in a partition."""
    tp, bounds = locate(connection, partition)
    base = tp << OFFSET_BITS
    low, high = base + bounds.start, base + bounds.end
    while low < high:
        middle = (low + high) // 2
        # Offsets have gaps: the record found stands for all from the middle up to it.
        row = connection.execute(_AT, (middle, high)).fetchone()
        if row is not None and row[1] < timestamp_ms:
            low = row[0] + 1
        else:
            high = middle
    return low - base


def _end(connection: sqlite3.Connection, tp: int) -> int:
    row = connection.execute("SELECT next FROM part WHERE tp = ?", (tp,)).fetchone()
    return int(row[0]) if row else 0


def _range(connection: sqlite3.Connection, want: Want, end: int, limit: int) -> Fetched:
    base = want.tp << OFFSET_BITS
    rows, cut = _rows(connection.execute(_RANGE, (base + want.offset, base + (1 << OFFSET_BITS), limit)))
    last = rows[-1][0] + 1 if rows else 0
    # Fewer than asked for: all up to the end was seen, be there records or not.
    after = last if cut or len(rows) == limit else max(last, end)
    return Fetched(want.partition, list(starmap(Record, rows)), after)


def _rows(cursor: sqlite3.Cursor) -> tuple[list[_Row], bool]:
    """The rows, cut after the first page that makes them `MOST_BYTES`; whether there may be more."""
    rows: list[_Row] = []
    room = MOST_BYTES
    while page := cursor.fetchmany(_PAGE):
        rows += page
        room -= sum(len(value) for _, _, _, value, _ in page if value)
        if room <= 0:
            cursor.close()  # an open cursor would keep the WAL from being reset
            return rows, True
    return rows, False
