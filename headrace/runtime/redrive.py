"""Redrive: a dead letter goes back to its function, and to no other subscriber, through a retry topic of its own."""

from __future__ import annotations

from headrace.functions.names import retry_topic_of
from headrace.runtime.deadletter import LINEAGE, REDRIVE
from headrace.runtime.letters import DeadLetter
from headrace.runtime.origin import origin_headers
from headrace.runtime.ports import Append, Reader, Record
from headrace.runtime.tiers import REDRIVE as TIER
from headrace.sandbox.headers import Header, pack, unpack

MOST_REDRIVES = 3
"""An event that was redriven as often needs to be forced: it fails for a reason of its own."""


def redrive_topic_of(app: str, function: str) -> str:
    """The retry topic of a function for what is redriven."""
    return retry_topic_of(app, function, TIER.name)


def redriven(letter: DeadLetter, original: Record, app: str, *, partitions: int, now_ms: int) -> Append:
    """The record that has the event of a dead letter handled again, from its first attempt on and as hop 0.

    `original` has its key, value and headers: the letter's own record, or the first one if the letter is a stub. It
    keeps the partition number of its origin.
    """
    count = letter.redrives + 1
    ours: list[Header] = [
        ("headrace-hops", b"0"),
        *origin_headers(
            Record(original.offset, letter.origin_ms, original.key, original.value, original.headers),
            letter.origin,
            function=letter.function,
            code=letter.code,
            attempt=1,
        ),
        ("headrace-not-before", b"0"),
        (REDRIVE, b"%d" % count),
    ]
    kept = [header for header in unpack(original.headers) if _stays(header[0])]
    return Append(
        redrive_topic_of(app, letter.function),
        letter.origin.partition % partitions,
        now_ms,
        original.key,
        original.value,
        pack([*kept, *ours]),
    )


def _stays(name: str) -> bool:
    return not name.startswith("headrace-") or (name in LINEAGE and name != "headrace-hops")


async def original_of(letter: DeadLetter, reader: Reader) -> Record | None:
    """The record to redrive; None if the letter is a stub whose origin is gone."""
    if not letter.stub:
        return letter.record
    place = letter.origin
    fetched = await reader.read((place.topic, place.partition), place.offset, 1)
    return next((record for record in fetched.records if record.offset == place.offset), None)
