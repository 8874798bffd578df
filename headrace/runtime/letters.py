"""Dead letters, read back: what lies in a dead-letter topic, whose it is, and why it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from headrace.functions.cloudevents import Malformed, read
from headrace.runtime.control import Letter
from headrace.runtime.deadletter import REDRIVE
from headrace.runtime.ports import Record, Store
from headrace.sandbox.headers import by_name, unpack
from headrace.sandbox.wire import Origin

_PAGE = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter of a function. `redrives` is how often it was redriven before it came here.

    `origin_ms` is the timestamp of the original record, `event_id` the event's id. `stub`: its value was too large.
    """

    letter: Letter
    record: Record
    function: str
    event_id: str
    origin: Origin
    origin_ms: int
    fingerprint: str
    error_type: str
    error_message: str
    failed_at: str
    attempts: int
    code: str
    redrives: int
    stub: bool

    def __repr__(self) -> str:
        return f"<DeadLetter {'/'.join(map(str, self.letter))} of {self.function}: {self.error_type}>"


async def dead_letters(store: Store, topic: str) -> AsyncIterator[DeadLetter]:
    """All dead letters of headrace in a topic, by partition and offset; what others put there is passed over."""
    infos = await store.topics([topic])
    for number, bounds in enumerate(infos[topic].bounds if topic in infos else ()):
        position = bounds.start
        while position < bounds.end:
            fetched = await store.read((topic, number), position, _PAGE)
            for record in fetched.records:
                if (found := letter_of(Letter(topic, number, record.offset), record, store.cluster)) is not None:
                    yield found
            if fetched.next <= position:
                break
            position = fetched.next


def letter_of(letter: Letter, record: Record, cluster: str) -> DeadLetter | None:
    """What lies at that place of a dead-letter topic; None for what headrace did not put there."""
    # The last of a name is ours: a foreign one of the same name stands before it.
    said = {name: value.decode("utf-8", "replace") for name, value in unpack(record.headers)}
    try:
        origin = Origin(
            said["headrace-origin-topic"], int(said["headrace-origin-partition"]), int(said["headrace-origin-offset"])
        )
        return DeadLetter(
            letter=letter,
            record=record,
            function=said["headrace-function"],
            event_id=_event_id(record, origin, cluster),
            origin=origin,
            origin_ms=int(said["headrace-origin-timestamp"]),
            fingerprint=said.get("headrace-fingerprint", ""),
            error_type=said["headrace-error-type"],
            error_message=said.get("headrace-error-message", ""),
            failed_at=said.get("headrace-failed-at", ""),
            attempts=int(said.get("headrace-attempt", "0")),
            code=said.get("headrace-code", ""),
            redrives=_count(said),
            stub="headrace-value-dropped" in said,
        )
    except (KeyError, ValueError):
        return None


def _event_id(record: Record, origin: Origin, cluster: str) -> str:
    place = (origin.topic, origin.partition, origin.offset)
    try:
        return read(by_name(record.headers), record.value, place, cluster).id
    except (Malformed, ValueError):
        return "/".join(map(str, place))


def _count(said: Mapping[str, str]) -> int:
    text = said.get(REDRIVE, "0")
    return int(text) if text.isdecimal() else 0
