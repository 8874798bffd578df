"""Leftovers: events delivered for a partition and not ended when it was given up, in case it comes straight back.

A rebalance may take all partitions of a member and give most of them back. What was fetched of those and not handled
yet is still right if nobody has settled anything meanwhile, and need not be fetched again (rule R3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.runtime.ports import Assigned, Clock, Fetched, Partition, Record


@dataclass(frozen=True, slots=True)
class Leftover:
    """The open events of a partition in offset order, up to `next`, and the progress they were left at."""

    partition: Partition
    watermark: int
    progress: bytes
    records: Sequence[Record]
    next: int


class Leftovers:
    """Keeps them for `keep_s` seconds: as long as a rebalance may take."""

    def __init__(self, clock: Clock, keep_s: float) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._kept: dict[Partition, Leftover] = {}
        self._cancel: Callable[[], None] | None = None

    def keep(self, leftover: Leftover) -> None:
        """Keep it, and all others as long as this one."""
        self._kept[leftover.partition] = leftover
        if self._cancel is not None:
            self._cancel()
        self._cancel = self._clock.call_at(self._clock.monotonic() + self._keep_s, self.clear)

    def take(self, assigned: Assigned) -> Fetched | None:
        """What was left of the partition, as if fetched from its watermark on; None if there was other progress."""
        left = self._kept.pop(assigned.partition, None)
        if left is None or (left.watermark, left.progress) != (assigned.watermark, assigned.progress):
            return None
        if assigned.bounds.start > left.watermark:  # retention went over it: let it be looked at anew
            return None
        return Fetched(left.partition, left.records, left.next)

    def clear(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def __repr__(self) -> str:
        return f"<Leftovers of {len(self._kept)} partitions>"
