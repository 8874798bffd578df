"""Views: what a test sees of events, dead letters and attempts. All are plain values, and do not change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from headrace.functions import cloudevents
from headrace.functions.codec import type_name
from headrace.functions.payload import payload_of
from headrace.runtime.ports import Partition, Record
from headrace.sandbox.headers import unpack
from headrace.sandbox.outcome import Emitted

T = TypeVar("T")
Model = type[T]  # in a class with a field of that name, `type` is the field


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event as it lies in a topic; its offset is -1 if it does not (yet).

    `data` is what its JSON says; text for `str`, the bytes themselves for anything else, None for a tombstone. `value`
    are its bytes. `headers` are all headers of the record by name, those of CloudEvents and of headrace among them.
    `cause` is the id of the event whose handling emitted it.
    """

    topic: str
    partition: int
    offset: int
    id: str
    type: str | None
    source: str
    subject: str | None
    time: datetime
    key: str | None
    data: Any
    value: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    cause: str | None = None

    @classmethod
    def of(cls, partition: Partition, record: Record, cluster: str) -> Self:
        """The view of a record."""
        return cls(**_fields(partition, record, cluster))

    def model(self, model: Model[T]) -> T:
        """The data as a pydantic model, a `msgspec.Struct`, `dict`, `str` or `bytes`.

        Raises `AssertionError` if the event is of another type, and the model's own error if the data does not fit it.
        """
        payload = payload_of(model)
        if self.type is not None and payload.models and self.type not in payload.models:
            raise AssertionError(f"{self} is no {type_name(model)}")
        if self.value is None:
            raise AssertionError(f"{self} is a tombstone, without data")
        decoded: T = payload.untyped(self.value)
        return decoded

    @property
    def place(self) -> str:
        """Where it lies: topic, partition and offset."""
        return f"{self.topic}/{self.partition}" + (f"@{self.offset}" if self.offset >= 0 else "")

    def __str__(self) -> str:
        key = "" if self.key is None else f", key {self.key!r}"
        return f"{self.type or 'event'} {self.id} at {self.place}{key}"


@dataclass(frozen=True, kw_only=True)
class DeadLetter(StoredEvent):
    """An event that was set aside, with why: by which `function`, after how many attempts, with which error.

    `error_type` is the exception's qualified name, or one of headrace's words (`Rejected`, `loop`, `HandlerTimeout`).
    """

    function: str
    attempt: int
    error_type: str
    message: str
    stack: str = field(repr=False)

    @classmethod
    def of(cls, partition: Partition, record: Record, cluster: str) -> Self:
        """The view of a record of a dead-letter topic."""
        fields = _fields(partition, record, cluster)
        headers = fields["headers"]
        return cls(
            **fields,
            function=headers.get("headrace-function", ""),
            attempt=int(headers.get("headrace-attempt", "0")),
            error_type=headers.get("headrace-error-type", ""),
            message=headers.get("headrace-error-message", ""),
            stack=headers.get("headrace-error-stack", ""),
        )


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt of an event: `at` so many virtual seconds after the app was made, and how it ended.

    `outcome` is "done", "skipped", "rejected", "failed" or "timed-out", as for `headrace invoke`. `retry_in` is after
    how many seconds it is tried again, None if it is not. `emitted` is what it published, `logs` what it logged with
    `ctx.log` (`event` is the message, `log_level` the method). `lost`: the runtime died before this became durable.
    """

    function: str
    event: StoredEvent
    attempt: int
    outcome: str
    at: float
    error_type: str | None = None
    message: str | None = None
    stack: str = field(default="", repr=False)
    retry_in: float | None = None
    emitted: Sequence[StoredEvent] = ()
    logs: Sequence[Mapping[str, Any]] = ()
    lost: bool = False

    def __str__(self) -> str:
        said = (
            f": {self.error_type}: {self.message}" if self.error_type else f": {self.message}" if self.message else ""
        )
        again = "" if self.retry_in is None else f"; again in {self.retry_in:g} s"
        emitted = "".join(f"; emitted {one.type or 'event'} to {one.topic}" for one in self.emitted)
        lost = "; lost in the crash" if self.lost else ""
        head = f"{self.at:9.3f} s  {self.function}  {self.event.id} ({self.event.place})  attempt {self.attempt}"
        return f"{head}  {self.outcome}{said}{emitted}{again}{lost}"


def emitted_views(emits: Iterable[Emitted], cluster: str) -> tuple[StoredEvent, ...]:
    """What a handler emits, before it lies anywhere."""
    return tuple(
        StoredEvent.of((one.topic, one.partition), Record(-1, one.timestamp, one.key, one.value, one.headers), cluster)
        for one in emits
    )


def _fields(partition: Partition, record: Record, cluster: str) -> dict[str, Any]:
    topic, number = partition
    headers = dict(unpack(record.headers))
    place = (topic, number, record.offset)
    try:
        envelope = cloudevents.read(headers, record.value, place, cluster)
    except cloudevents.Malformed:  # shown as it is
        envelope = cloudevents.Envelope(headers, record.value, place, cluster)
    texts = {name: value.decode("utf-8", "replace") for name, value in headers.items()}
    return {
        "topic": topic,
        "partition": number,
        "offset": record.offset,
        "id": envelope.id,
        "type": envelope.type,
        "source": envelope.source,
        "subject": envelope.subject,
        "time": envelope.time(record.timestamp).astimezone(UTC),
        "key": None if record.key is None else record.key.decode("utf-8", "surrogateescape"),
        "data": _data(envelope.data, texts.get("content-type", "")),
        "value": envelope.data,
        "headers": texts,
        "cause": texts.get("headrace-cause"),
    }


def _data(value: bytes | None, content_type: str) -> Any:
    if value is None:
        return None
    try:
        if content_type.startswith("text/"):
            return value.decode()
        return value if content_type == "application/octet-stream" else json.loads(value)
    except ValueError:
        return value
