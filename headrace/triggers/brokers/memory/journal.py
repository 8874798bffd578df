"""The records of one partition."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from operator import attrgetter

from headrace.runtime.ports import Append, Bounds, Record

MOST_BYTES = 4 << 20

_offset = attrgetter("offset")


class Journal:
    """Records in offset order, with the times they were appended. Plain data: it can be copied."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.times: list[int] = []  # of appending, in milliseconds since 1970; never going back
        self.start = 0
        self.end = 0
        self.bytes = 0

    @property
    def bounds(self) -> Bounds:
        """The first offset, and the one the next record will get."""
        return Bounds(self.start, self.end)

    def append(self, append: Append, now_ms: int) -> int:
        """Add a record; its offset."""
        offset = self.end
        self.records.append(Record(offset, append.timestamp, append.key, append.value, append.headers))
        self.times.append(max(now_ms, self.times[-1] if self.times else 0))
        self.bytes += _size(self.records[-1])
        self.end += 1
        return offset

    def take(self, offset: int, limit: int) -> tuple[list[Record], int]:
        """Up to `limit` records from `offset` on, `MOST_BYTES` or so, and the position after them."""
        first = bisect_left(self.records, offset, key=_offset)
        found = self.records[first : first + max(0, limit)]
        room = MOST_BYTES
        for n, record in enumerate(found):
            room -= len(record.value or b"")
            if room <= 0:
                found = found[: n + 1]
                break
        if found and first + len(found) < len(self.records):
            return found, found[-1].offset + 1
        # All up to the end was seen, be there records or not.
        return found, max(offset, self.end) if limit > 0 else offset

    def offset_at(self, timestamp_ms: int) -> int:
        """The first offset appended at or after that time; the end if there is none."""
        n = bisect_left(self.times, timestamp_ms)
        return self.records[n].offset if n < len(self.records) else self.end

    def skip(self, offsets: int) -> None:
        """Use up offsets without records, as the markers of a transaction do."""
        self.end += offsets

    def drop(self, offsets: Collection[int]) -> None:
        """Remove records, as compaction does: their offsets become gaps."""
        kept = [n for n, record in enumerate(self.records) if record.offset not in offsets]
        self._keep(kept)

    def trim(self, start: int) -> None:
        """Remove what lies before `start`, as retention does."""
        self.start = max(self.start, min(start, self.end))
        self._keep([n for n, record in enumerate(self.records) if record.offset >= self.start])

    def _keep(self, kept: list[int]) -> None:
        self.records, self.times = [self.records[n] for n in kept], [self.times[n] for n in kept]
        self.bytes = sum(map(_size, self.records))

    def __repr__(self) -> str:
        return f"<Journal: {len(self.records)} records, offsets {self.start} to {self.end}>"


def _size(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"") + len(record.headers)
