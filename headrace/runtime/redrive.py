"""Redrive: a dead letter goes back to its function, and to no other subscriber, through a retry topic of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from headrace.functions.names import retry_topic_of
from headrace.runtime.control import Said, control_spec, letter_record
from headrace.runtime.deadletter import LINEAGE, REDRIVE
from headrace.runtime.letters import DeadLetter
from headrace.runtime.origin import origin_headers
from headrace.runtime.ports import Append, Reader, Record, Store, TopicSpec
from headrace.runtime.tiers import REDRIVE as TIER
from headrace.sandbox.headers import Header, pack, unpack

MOST_REDRIVES = 3
"""An event that was redriven as often needs to be forced: it fails for a reason of its own."""


def redrive_topic_of(app: str, function: str) -> str:
    """The retry topic of a function for what is redriven."""
    return retry_topic_of(app, function, TIER.name)


class Redriving:
    """Sends dead letters of an app back. `atomic`: on a log where what is appended together is there together.

    Elsewhere the note that a letter is not open any more comes second: what fails in between is redriven twice.
    """

    def __init__(self, store: Store, app: str, *, atomic: bool) -> None:
        self._store = store
        self._app = app
        self._atomic = atomic

    async def send(
        self, function: str, sources: Collection[str], letters: Sequence[DeadLetter], said: Said, now_ms: int
    ) -> Sequence[DeadLetter]:
        """Have the function handle these once more; those that it cannot, because their original is gone.

        `sources` are the topics its letters and its events are in. Raises `BrokerError`.
        """
        partitions = await self._prepare(function, sources)
        records, marks, lost = [], [], []
        for letter in letters:
            if (original := await original_of(letter, self._store)) is None:
                lost.append(letter)
                continue
            records.append(redriven(letter, original, self._app, partitions=partitions, now_ms=now_ms))
            marks.append(letter_record(self._app, letter.letter, said, now_ms))
        for appends in [records + marks] if self._atomic else [records, marks]:
            await self._store.append(appends)
        return lost

    async def _prepare(self, function: str, sources: Collection[str]) -> int:
        """See that its topics are there; how many partitions the one for redrives has."""
        topic = redrive_topic_of(self._app, function)
        largest = max((await self._store.topics(sources)).values(), key=lambda info: len(info.bounds))
        spec = TopicSpec(topic, len(largest.bounds), max_bytes=largest.max_bytes)
        await self._store.ensure([control_spec(self._app), spec])
        return len((await self._store.topics([topic]))[topic].bounds)

    def __repr__(self) -> str:
        return f"<Redriving of {self._app}>"


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
