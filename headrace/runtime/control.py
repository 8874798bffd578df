"""Control: what operators want of an app, in the compacted topic `<app>.control` (rule R7).

A record's key says what it is about, as a JSON array: `["paused", function]`, or `["letter", topic, partition, offset]`
for a dead letter. Its value is a JSON object with `by` and `at` (ISO 8601) and, for a letter, its `state`; a null value
takes back what was said. What cannot be read is of a later version, and passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from headrace.functions.names import control_topic_of
from headrace.runtime.ports import Append, Partition, Reader, Record, Store, TopicSpec
from headrace.sandbox.headers import pack

_PAGE = 500


class Letter(NamedTuple):
    """Where a dead letter lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Said:
    """Who said something, when, and, of a letter, the state it is in since then."""

    by: str
    at: str
    state: str = ""


class Control:
    """What is wanted now: paused functions by name, and dead letters that are not open any more."""

    def __init__(self) -> None:
        self.paused: dict[str, Said] = {}
        self.letters: dict[Letter, Said] = {}

    def apply(self, record: Record) -> None:
        """Take a record of the control topic in; they come in order."""
        try:
            match json.loads(record.key or b""):
                case ["paused", str(function)]:
                    _note(self.paused, function, record.value)
                case ["letter", str(topic), int(partition), int(offset)]:
                    _note(self.letters, Letter(topic, partition, offset), record.value)
        except (ValueError, KeyError, TypeError):
            return

    def why_paused(self, function: str) -> str | None:
        """Why a function is to stand still; None if it is not."""
        said = self.paused.get(function)
        return None if said is None else f"paused by {said.by} at {said.at}; `headrace resume {function}` goes on"

    def __repr__(self) -> str:
        return f"<Control: {', '.join(sorted(self.paused)) or 'nothing'} paused, {len(self.letters)} letters not open>"


def _note(notes: dict[Any, Said], about: object, value: bytes | None) -> None:
    if value is None:
        notes.pop(about, None)
        return
    said = json.loads(value)
    notes[about] = Said(str(said["by"]), str(said["at"]), str(said.get("state", "")))


def control_spec(app: str) -> TopicSpec:
    """The topic, to be made where it is missing."""
    return TopicSpec(control_topic_of(app), partitions=1, cleanup="compact")


def pause_record(app: str, function: str, said: Said | None, now_ms: int) -> Append:
    """The request that a function is paused, or, with None, that it goes on."""
    return _record(app, ["paused", function], None if said is None else {"by": said.by, "at": said.at}, now_ms)


def letter_record(app: str, letter: Letter, said: Said, now_ms: int) -> Append:
    """The note that a dead letter is in the state that is said."""
    return _record(app, ["letter", *letter], {"state": said.state, "by": said.by, "at": said.at}, now_ms)


def _record(app: str, key: list[Any], value: Mapping[str, str] | None, now_ms: int) -> Append:
    data = None if value is None else json.dumps(value).encode()
    return Append(control_topic_of(app), 0, now_ms, json.dumps(key).encode(), data, pack([]))


class ControlReader:
    """Reads the control topic of an app on from where it was; `control` is what was wanted at that point."""

    def __init__(self, reader: Reader, app: str) -> None:
        self.control = Control()
        self._reader = reader
        self._partition: Partition = (control_topic_of(app), 0)
        self._position = 0

    async def catch_up(self) -> bool:
        """Read to the end; whether there was anything new. The topic must be there. Raises `BrokerError`."""
        news = False
        while True:
            fetched = await self._reader.read(self._partition, self._position, _PAGE)
            for record in fetched.records:
                self.control.apply(record)
            news = news or bool(fetched.records)
            if fetched.next <= self._position:
                return news
            self._position = fetched.next

    def __repr__(self) -> str:
        return f"<ControlReader at {self._position}: {self.control!r}>"


async def control_of(store: Store, app: str) -> Control:
    """What is wanted of an app now. Nothing, if nobody ever said anything."""
    reader = ControlReader(store, app)
    if await store.topics([control_topic_of(app)]):
        await reader.catch_up()
    return reader.control
