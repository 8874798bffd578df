"""Progress: what of a partition is done, and what waits for another attempt.

A watermark below which everything is done, a map of what is done beyond it, a ledger of charged failures, and the
owner's custody. They are written with every settlement and read back on assignment, so that a restart neither repeats
what is done nor forgets how often an event has failed.

Offsets have gaps (compaction, transaction markers): what was passed over by a fetch counts as done, so that the
map stays a few ranges.

Written form: `b"HP"`, a version byte, then a msgpack array: the ranges beyond the watermark as a flat list of
[distance from the end of the one before, length, …]; the ledger as [distance from the watermark, failures, due in ms
since 1970, runs alone] for each entry; and the custody as [alive, deaths, mark, distance of the started offset from
the watermark or null]. Further items are ignored, so that fields can be added.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from headrace.runtime.custody import Custody
from headrace.runtime.ports import Record

MAGIC = b"HP\x01"


class Charge(NamedTuple):
    """Charged failures of an event, when its next attempt is due (ms since 1970), and whether it has to run alone."""

    failures: int
    due_ms: int
    alone: bool = False


_UNCHARGED = Charge(0, 0)


class BadProgress(ValueError):
    """Bytes that are no progress, or that of a later version."""


class Progress:
    """The progress of one function on one partition. A plain state machine."""

    def __init__(self, watermark: int) -> None:
        self.watermark = watermark
        self.position = watermark
        self.ledger: dict[int, Charge] = {}
        self.custody = Custody()
        self._start_to_end: dict[int, int] = {}
        self._end_to_start: dict[int, int] = {}
        self._restored: list[tuple[int, int]] = []

    @classmethod
    def restore(cls, watermark: int, data: bytes) -> Progress:
        """The progress that `encode` wrote. Raises `BadProgress` for anything else."""
        progress = cls(watermark)
        if not data:
            return progress
        if not data.startswith(MAGIC):
            raise BadProgress(f"progress does not begin with {MAGIC!r} but with {data[:3]!r}")
        try:
            flat, ledger, *later = msgspec.msgpack.decode(data[len(MAGIC) :])
            progress._read_ranges(flat)
            for distance, failures, due_ms, *flags in ledger:
                progress.ledger[watermark + distance] = Charge(failures, due_ms, bool(flags and flags[0]))
            if later:
                alive, deaths, mark, started, *_ = later[0]
                progress.custody = Custody(alive, deaths, mark, None if started is None else watermark + started)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise BadProgress(f"progress cannot be read: {error}") from error
        return progress

    def encode(self) -> bytes:
        """Map, ledger and custody as bytes; the watermark is stored beside them."""
        flat: list[int] = []
        at = mark = self.watermark
        for start, end in sorted(self._start_to_end.items()):
            flat += (start - at, end - start)
            at = end
        ledger = [(offset - mark, *charge) for offset, charge in sorted(self.ledger.items())]
        alive, deaths, death_mark, started = self.custody
        custody = (alive, deaths, death_mark, None if started is None else started - mark)
        return MAGIC + msgspec.msgpack.encode((flat, ledger, custody))

    def deliver(self, records: Sequence[Record], position: int) -> Sequence[Record]:
        """Those of the fetched records that are not done yet; `position` is the one after the fetch."""
        if records and records[0].offset < self.position:  # delivered a second time
            records = [record for record in records if record.offset >= self.position]
        if not records or records[0].offset != self.position or records[-1].offset - self.position != len(records) - 1:
            self._pass_gaps(records, position)
        elif (end := records[-1].offset + 1) < position:
            self._mark_fresh(end, position)
        self.position = max(self.position, position)
        return [r for r in records if not self._was_done(r.offset)] if self._restored else records

    def finish(self, offset: int) -> None:
        """The event at `offset` has ended for good. Once for each delivered event."""
        self.finish_run(offset, offset + 1)

    def finish_run(self, start: int, end: int) -> None:
        """All events at offsets from `start` up to `end` have ended for good."""
        if self.ledger:
            for offset in range(start, end):
                self.ledger.pop(offset, None)
        self._mark(start, end)

    def charge(self, offset: int, due_ms: int, *, alone: bool = False) -> int:
        """One more charged failure of the event at `offset`, next due at `due_ms`; how many it has now.

        `alone`: it has to run alone from now on, as does one that had to before.
        """
        failures, _, was_alone = self.ledger.get(offset, _UNCHARGED)
        self.ledger[offset] = Charge(failures + 1, due_ms, alone or was_alone)
        return failures + 1

    def failures(self, offset: int) -> int:
        """Charged failures of the event at `offset` so far."""
        charge = self.ledger.get(offset)
        return charge.failures if charge else 0

    @property
    def done_beyond(self) -> int:
        """How many offsets beyond the watermark are done."""
        return sum(end - start for start, end in self._start_to_end.items())

    def done_from(self, offset: int) -> int:
        """How many offsets beyond the watermark, from `offset` on, are done."""
        return sum(max(0, end - max(start, offset)) for start, end in self._start_to_end.items())

    def _read_ranges(self, flat: list[int]) -> None:
        at = self.watermark
        for distance, length in zip(flat[::2], flat[1::2], strict=True):
            start = at + distance
            at = start + length
            if distance <= 0 or length <= 0:
                raise BadProgress(f"a range of {length} at a distance of {distance}")
            self._restored.append((start, at))
            self._mark(start, at)

    def was_done(self, offset: int) -> bool:
        """Whether it was done when this was restored: below the watermark, or beyond it."""
        return offset < self.watermark or self._was_done(offset)

    def _was_done(self, offset: int) -> bool:
        at = bisect_right(self._restored, (offset, float("inf"))) - 1
        return at >= 0 and offset < self._restored[at][1]

    def _pass_gaps(self, records: Sequence[Record], position: int) -> None:
        at = self.position
        for record in records:
            self._mark_fresh(at, record.offset)
            at = record.offset + 1
        self._mark_fresh(at, position)

    def _mark_fresh(self, start: int, end: int) -> None:
        """Mark a gap, minus what the restored map already holds of it. What waited there is gone (compaction)."""
        if self.ledger and start < end:
            for offset in [offset for offset in self.ledger if start <= offset < end]:
                del self.ledger[offset]
        for done_start, done_end in self._restored:
            if done_end <= start or done_start >= end:
                continue
            self._mark(start, done_start)
            start = done_end
        self._mark(start, end)

    def _mark(self, start: int, end: int) -> None:
        if start >= end:
            return
        if start == self.watermark and not self._start_to_end:
            self.watermark = end
            return
        start = self._join_left(start)
        end = self._join_right(end)
        if start == self.watermark:
            self.watermark = end
        else:
            self._start_to_end[start] = end
            self._end_to_start[end] = start

    def _join_left(self, start: int) -> int:
        if (further := self._end_to_start.pop(start, None)) is None:
            return start
        del self._start_to_end[further]
        return further

    def _join_right(self, end: int) -> int:
        if (further := self._start_to_end.pop(end, None)) is None:
            return end
        del self._end_to_start[further]
        return further

    def __repr__(self) -> str:
        return (
            f"<Progress: done below {self.watermark}, {self.done_beyond} beyond, {len(self.ledger)} to be tried again>"
        )


def runs_of(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Offsets as runs of neighbours: the first of each, and the one after its last."""
    runs: list[tuple[int, int]] = []
    start = end = -1
    for offset in sorted(offsets):
        if offset != end:
            if end >= 0:
                runs.append((start, end))
            start = offset
        end = offset + 1
    return [*runs, (start, end)]
