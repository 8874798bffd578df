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


async def look_up(
    cluster: Cluster, group: str, partitions: Sequence[Partition], *, exact: bool
) -> tuple[dict[Partition, Mark], dict[Partition, Bounds]]:
    """The group's marks, where it has any, and the bounds of all.

    A mark beyond the end is of a log that was cut, or of a topic that was made anew: its owner begins at the beginning,
    which repeats some and loses none; where nothing may be repeated (`exact`) the mark is left as it is.
    """
    if not partitions:
        return {}, {}
    ask = cluster.until_answered
    marks = await ask(f"asking for the offsets of {group!r}", lambda: cluster.marks(group, partitions))
    doubts = 0
    while True:
        bounds = await ask("asking for the ends of partitions", lambda: cluster.bounds(partitions))
        cut = [one for one, mark in marks.items() if mark.watermark > bounds[one].end]
        if not cut or doubts == _DOUBTS:
            break
        doubts += 1
        await asyncio.sleep(_PAUSE_S)  # a new leader may not know its end for a moment
    for one in () if exact else cut:
        where = {"topic": one[0], "partition": one[1], "committed": marks[one].watermark, "end": bounds[one].end}
        log.warning("the log ends before what was done; starting at its beginning", group=group, **where)
        marks[one] = Mark(bounds[one].start, "")
    return marks, bounds
