"""What a new owner of partitions is told: where the group was on each, and where each begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from headrace.runtime.ports import Bounds, Partition
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.mark import Mark

_DOUBTS = 10  # how often an end before the committed offset is asked for again before it is believed
_PAUSE_S = 1.0

log = structlog.get_logger("headrace")


class Handover:
    """What the new owner of partitions is told for one group. An end that was believed once is not doubted again."""

    def __init__(self, group: str, cluster: Cluster, *, exact: bool) -> None:
        self._group = group
        self._cluster = cluster
        self._exact = exact
        self._believed: dict[Partition, Mark] = {}  # that these marks lie beyond the end

    def __repr__(self) -> str:
        return f"<Handover of {self._group}: {len(self._believed)} partitions end before what was done>"

    async def look_up(self, partitions: Sequence[Partition]) -> tuple[dict[Partition, Mark], dict[Partition, Bounds]]:
        """The group's marks, where it has any, and the bounds of all.

        A mark beyond the end is of a log that was cut, or of a topic that was made anew: its owner begins at the
        beginning, which repeats some and loses none; where nothing may be repeated (`exact`) the mark is left as it is.
        """
        if not partitions:
            return {}, {}
        ask = self._cluster.until_answered
        doing = f"asking for the offsets of {self._group!r}"
        marks = await ask(doing, lambda: self._cluster.marks(self._group, partitions))
        bounds = await self._bounds(partitions, marks)
        for one in () if self._exact else self._believed:
            where = {"topic": one[0], "partition": one[1], "committed": marks[one].watermark, "end": bounds[one].end}
            log.warning("the log ends before what was done; starting at its beginning", group=self._group, **where)
            marks[one] = Mark(bounds[one].start, "")
        return marks, bounds

    async def _bounds(self, partitions: Sequence[Partition], marks: dict[Partition, Mark]) -> dict[Partition, Bounds]:
        """The bounds, once no mark lies beyond an end or that is believed."""
        doubts = 0
        while True:
            bounds = await self._cluster.until_answered(
                "asking for the ends of partitions", lambda: self._cluster.bounds(partitions)
            )
            cut = {one: mark for one, mark in marks.items() if mark.watermark > bounds[one].end}
            if doubts == _DOUBTS or cut.items() <= self._believed.items():
                self._believed = cut
                return bounds
            doubts += 1
            await asyncio.sleep(_PAUSE_S)  # a new leader may not know its end for a moment
