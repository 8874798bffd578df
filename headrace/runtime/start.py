"""Where a function begins on a partition: at its progress, or where a new group is to start."""

from __future__ import annotations

from datetime import datetime

import structlog

from headrace.runtime.ports import Assigned, Reader
from headrace.runtime.progress import BadProgress, Progress
from headrace.sandbox.manifest import FunctionSpec

log = structlog.get_logger("headrace")


async def progress_at(
    assigned: Assigned, spec: FunctionSpec, reader: Reader, *, start: str | None, exact: bool
) -> Progress:
    """The progress to go on from, or that of `start` if there is none.

    What cannot be read is replayed, but where nothing may be repeated (`exact`) that raises `BadProgress`. What was
    deleted is told and passed over.
    """
    if assigned.watermark is None:
        return Progress(await _start_of(assigned, start or "earliest", reader))
    topic, partition = assigned.partition
    about = {"function": spec.name, "topic": topic, "partition": partition}
    if assigned.watermark > assigned.bounds.end and exact:
        raise BadProgress(f"the log ends at {assigned.bounds.end}, before what was done ({assigned.watermark})")
    try:
        progress = Progress.restore(assigned.watermark, assigned.progress)
    except BadProgress as error:
        if exact:
            raise
        log.warning("progress cannot be read; replaying from the watermark", error=str(error), **about)
        progress = Progress(assigned.watermark)
    if progress.watermark < assigned.bounds.start:
        lost = assigned.bounds.start - progress.watermark
        log.warning("events were deleted before this function saw them", lost=lost, **about)
        progress = Progress(assigned.bounds.start)
    return progress


async def _start_of(assigned: Assigned, start: str, reader: Reader) -> int:
    match start:
        case "earliest":
            return assigned.bounds.start
        case "latest":
            return assigned.bounds.end
        case moment:
            timestamp_ms = round(datetime.fromisoformat(moment).timestamp() * 1000)
            return await reader.offset_at(assigned.partition, timestamp_ms)
