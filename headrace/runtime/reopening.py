"""Reopening: a past event as its handler is to see it, from wherever its record lies.

A record of an ordinary topic is its event. One of a retry or dead-letter topic is a copy that says where the event lay
first, and which attempt comes next there or, of a dead letter, came last.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from headrace.functions.errors import BrokerError
from headrace.functions.names import is_internal
from headrace.runtime.control import Letter
from headrace.runtime.deadletter import LINEAGE
from headrace.runtime.letters import letter_of
from headrace.runtime.ports import Partition, Record, Store
from headrace.runtime.redrive import original_of
from headrace.runtime.retrytopic import RetryTopics
from headrace.sandbox.headers import pack, unpack
from headrace.sandbox.wire import Origin


@dataclass(frozen=True, slots=True)
class Reopened:
    """A past event: key, value, headers and time as they were first. `origin` is where that was, None if here.

    `function` is whose copy it is, None for the event itself.
    """

    record: Record
    origin: Origin | None
    attempt: int
    function: str | None


async def reopen(store: Store, partition: Partition, offset: int, *, dead_letters: str | None) -> Reopened:
    """The event at this place; `dead_letters` is a dead-letter topic of whatever name.

    Raises `BrokerError` for a partition that the topic has not and for an offset at which there is nothing (any more,
    or yet), saying what there is; `UnknownTopic`.
    """
    record = await _record_at(store, partition, offset)
    topic = partition[0]
    if topic == dead_letters or (is_internal(topic) and topic.endswith(".dlt")):
        return await _of_letter(store, partition, record)
    if is_internal(topic) and ".retry." in topic:
        return _of_retry(partition, record)
    return Reopened(record, None, 1, None)


async def _record_at(store: Store, partition: Partition, offset: int) -> Record:
    topic, number = partition
    place = f"{topic}/{number}"
    bounds = (await store.topics([topic]))[topic].bounds
    if number >= len(bounds):
        raise BrokerError(f"topic {topic!r} has no partition {number}; it has {len(bounds)}, counted from 0")
    start, end = bounds[number]
    if offset >= end:
        last = f"the last one is at {end - 1}" if end > start else "it is empty"
        raise BrokerError(f"{place} has no event at offset {offset} yet: {last}")
    if offset < start:
        first = f"the first one that is left is at {start}" if end > start else f"it is empty, and goes on at {end}"
        raise BrokerError(f"{place} has no event at offset {offset} any more, retention deleted it: {first}")
    fetched = await store.read(partition, offset, 1)
    found = fetched.records[0] if fetched.records else None
    if found is None or found.offset != offset:
        after = f"the next one is at {found.offset}" if found is not None else "none comes after it"
        raise BrokerError(
            f"{place} has no event at offset {offset}: it was compacted away, or is a mark of a transaction; {after}"
        )
    return found


async def _of_letter(store: Store, partition: Partition, record: Record) -> Reopened:
    letter = letter_of(Letter(*partition, record.offset), record, store.cluster)
    if letter is None:  # another's, who put it there
        return Reopened(record, None, 1, None)
    original = await original_of(letter, store)
    if original is None:
        origin = letter.origin
        raise BrokerError(
            f"{'/'.join(map(str, letter.letter))} is a dead letter without its value, which was too large for it, and "
            f"the original at {origin.topic}/{origin.partition}/{origin.offset} is gone"
        )
    kept = [
        header for header in unpack(original.headers) if header[0] in LINEAGE or not header[0].startswith("headrace-")
    ]
    first = replace(original, offset=record.offset, timestamp=letter.origin_ms, headers=pack(kept))
    return Reopened(first, letter.origin, max(1, letter.attempts), letter.function)


def _of_retry(partition: Partition, record: Record) -> Reopened:
    app, function, *_ = partition[0].split(".")
    deferred = RetryTopics(app, function, 1, "").read(record, partition)
    if deferred.origin.topic == partition[0]:
        return Reopened(deferred.record, None, 1, function)
    return Reopened(deferred.record, deferred.origin, deferred.failures + 1, function)
