"""The event of an invocation: of data as given, of a sample, or one of the past."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headrace.cli.output import json_or_text
from headrace.cli.sample import sample_of
from headrace.cli.tail import event_document
from headrace.cli.where import known_topic
from headrace.compose import Workshop, shared_store
from headrace.functions import cloudevents
from headrace.functions.codec import Encoded, encode, encode_headers, encode_key
from headrace.functions.identity import fresh_id
from headrace.runtime.plan import dead_letter_topic
from headrace.runtime.reopening import Reopened, reopen
from headrace.runtime.settings import Settings
from headrace.sandbox.headers import pack
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Chunk, Task


class Given(NamedTuple):
    """An event with this data, as `encode` takes it."""

    payload: Any
    type: str | None
    key: str | None
    headers: list[tuple[str, str]]


class Sampled(NamedTuple):
    """An event with data made from the schema; of this type, or of one that is taken."""

    type: str | None
    key: str | None
    headers: list[tuple[str, str]]


class Past(NamedTuple):
    """The event at this place."""

    topic: str
    partition: int
    offset: int


Asked = Given | Sampled | Past


@dataclass(frozen=True, slots=True)
class Subject:
    """The event as a worker takes it, and what the result says of where it is from.

    `cluster` names the log it lies in: the source of a record that names none.
    """

    chunk: Chunk
    cluster: str
    told: dict[str, Any]


async def subject_of(asked: Asked, shop: Workshop, spec: FunctionSpec, settings: Settings, folder: Path) -> Subject:
    """The event that was asked for. Raises `NoSample`, or what reading the past raises (see `reopen`)."""
    if isinstance(asked, Past):
        return await _past(asked, shop, spec, settings, folder)
    if isinstance(asked, Given):
        return _fresh(spec, encode(asked.payload), asked, {})
    sample = sample_of(spec, random.Random(), asked.type)  # noqa: S311  (nothing to guess here)
    encoded = encode(sample.data)
    told = {"sample": {"type": sample.type, "data": json_or_text(encoded.value)}}
    return _fresh(spec, encoded._replace(type=sample.type), asked, told)


def _fresh(spec: FunctionSpec, encoded: Encoded, asked: Given | Sampled, told: dict[str, Any]) -> Subject:
    type_ = asked.type or encoded.type
    own = cloudevents.write(id=fresh_id(), source="/invoke", type=type_, content_type=encoded.content_type)
    headers = pack(own + encode_headers(asked.headers))
    task = Task(0, time.time_ns() // 1_000_000, encode_key(asked.key), encoded.value, headers)
    return Subject(Chunk(1, spec.topics[0], 0, [task]), "invoke", told)


async def _past(place: Past, shop: Workshop, spec: FunctionSpec, settings: Settings, folder: Path) -> Subject:
    async with shared_store(settings, folder) as store:
        await known_topic(store, place.topic)
        partition = (place.topic, place.partition)
        found = await reopen(store, partition, place.offset, dead_letters=dead_letter_topic(shop.app, spec))
        told = _told(found, place, store.cluster)
        cluster = store.cluster
    record = found.record
    task = Task(
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.headers,
        attempt=found.attempt,
        origin=found.origin,
    )
    return Subject(Chunk(1, *partition, [task]), cluster, {"from": told})


def _told(found: Reopened, place: Past, cluster: str) -> dict[str, Any]:
    origin = found.origin
    lay = place if origin is None else Past(origin.topic, origin.partition, origin.offset)
    event = event_document((lay.topic, lay.partition), found.record, cluster)
    return {
        **place._asdict(),
        "origin": None if origin is None else lay._asdict(),
        "function": found.function,
        "attempt": found.attempt,
        **{name: event[name] for name in ("key", "type", "id", "time", "headers", "data")},
    }
