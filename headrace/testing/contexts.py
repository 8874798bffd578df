"""Contexts: test a handler without running anything, called with a context made here.

    from headrace.testing import context

    async def test_confirms_by_mail() -> None:
        ctx = context(confirm_order, id="order-1", key="customer-7")
        assert await confirm_order(OrderPlaced(...), ctx) == EmailSent(...)
        assert [emit.topic for emit in ctx.emitted] == ["audit"]
        assert ctx.logs[0]["event"] == "sent"

The context is the one a worker makes, with the same rules: an emit to an undeclared topic is refused, ids are derived,
`key` is inherited, attributes and headers are those of a real record. For a batch handler put the contexts of its
events together:

    ctx = batch_context(context(tally, key="customer-7"), context(tally, key="customer-8"))
    tally([Order(...), Order(...)], ctx)
    assert list(ctx.failed) == [1]
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import structlog

from headrace.functions import cloudevents
from headrace.functions.batch import BatchContext
from headrace.functions.cloudevents import Envelope, Header
from headrace.functions.codec import HeadersIn, encode_key
from headrace.functions.context import Context
from headrace.functions.declare import Declaration, declaration_of
from headrace.functions.emits import Cause, Emit, Outbox, Routes, routes_of
from headrace.functions.errors import DeclarationError
from headrace.functions.event import Event

__all__ = ["Emit", "RecordingBatchContext", "RecordingContext", "batch_context", "context"]

T = TypeVar("T")


class RecordingContext(Context[T]):
    """A `Context` that keeps what the handler logs.

    `emitted` has what `emit()` was called with, encoded, in order: each an `Emit` with `topic`, `key` and `value` as
    bytes, `headers`, `id` and `type`. `logs` has one mapping for each log call: `event` is the message, `log_level`
    the method, the rest what was bound or passed.
    """

    __slots__ = ("logs",)

    def __init__(self, event: Event, *, outbox: Outbox, attempt: int, deadline: float, state: T) -> None:
        self.logs: list[MutableMapping[str, Any]] = []
        super().__init__(
            lambda: event,
            lambda event: recording_logger(self.logs, function=outbox.function, event_id=event.id),
            outbox=outbox,
            attempt=attempt,
            deadline=deadline,
            state=state,
        )

    @property
    def outbox(self) -> Outbox:
        """What collects its emits."""
        return self._outbox


class RecordingBatchContext(BatchContext[T]):
    """The context of a batch that keeps what the handler logs: `logs` and `emitted` as in `RecordingContext`.

    `failed` has what `fail()` was called with, by index.
    """

    __slots__ = ("logs",)

    def __init__(self, contexts: Sequence[RecordingContext[Any]], *, attempt: int, deadline: float, state: T) -> None:
        self.logs: list[MutableMapping[str, Any]] = []
        outboxes = [one.outbox for one in contexts]
        super().__init__(
            lambda: tuple(one.event for one in contexts),
            lambda: recording_logger(self.logs, function=outboxes[0].function),
            outboxes=outboxes,
            attempt=attempt,
            deadline=deadline,
            state=state,
        )


def recording_logger(logs: list[MutableMapping[str, Any]], **bound: Any) -> structlog.stdlib.BoundLogger:
    """A logger whose records are kept in `logs`, each with what is `bound`."""

    def keep(_: object, level: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        logs.append({**entry, "log_level": level})
        raise structlog.DropEvent

    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        None,
        processors=[structlog.stdlib.PositionalArgumentsFormatter(), keep],
        wrapper_class=structlog.stdlib.BoundLogger,
        **bound,
    )
    return logger


def context(
    handler: Callable[..., Any] | None = None,
    *,
    id: str = "event-1",  # noqa: A002  (the attribute's name)
    type: str | None = None,  # noqa: A002  (the attribute's name)
    source: str = "/test",
    time: datetime | None = None,
    subject: str | None = None,
    topic: str | None = None,
    partition: int = 0,
    offset: int = 0,
    key: str | bytes | None = None,
    headers: HeadersIn | None = None,
    attempt: int = 1,
    timeout: float | None = None,
    state: Any = None,
    emits: str | Iterable[str] | None = None,
    function: str | None = None,
    app: str = "test",
) -> RecordingContext[Any]:
    """A context for calling a handler in a test, at its `attempt`-th try, with `timeout` seconds left.

    With a declared `handler`, its first topic, its name, its timeout and its `emits` are the defaults; without one they
    are "test", "test", 30 seconds and any topic. `emits` names the topics that may be emitted to. `time` defaults to
    now. `headers` are the record's own, beside those of the event's attributes. Raises `DeclarationError` if `handler`
    has no `@function`.
    """
    declared = _declared(handler)
    names = declared or _Undeclared
    attributes = cloudevents.write(id=id, source=source, type=type, content_type=None, time=time)
    record = [*attributes, *_more_headers(subject, headers)]
    place = (topic or names.topics[0], partition, offset)
    raw_key = encode_key(key)
    envelope = cloudevents.read(dict(record), None, place, source)
    return RecordingContext(
        _event(envelope, place, raw_key, record),
        outbox=Outbox(app, function or names.name, _routes(declared, emits), Cause(envelope, raw_key)),
        attempt=attempt,
        deadline=clock.monotonic() + (names.timeout if timeout is None else timeout),
        state=state,
    )


def batch_context(
    *contexts: RecordingContext[Any], attempt: int = 1, timeout: float = 30.0, state: Any = None
) -> RecordingBatchContext[Any]:
    """A context for calling a batch handler in a test, made of those of its events, with `timeout` seconds left."""
    if not contexts:
        raise ValueError("batch_context() needs a context for each event: a batch has at least one")
    return RecordingBatchContext(contexts, attempt=attempt, deadline=clock.monotonic() + timeout, state=state)


class _Undeclared:
    topics = ("test",)
    name = "test"
    timeout = 30.0


class _AnyTopic(tuple[str, ...]):
    __slots__ = ()

    def __contains__(self, topic: object) -> bool:
        return True


def _declared(handler: Callable[..., Any] | None) -> Declaration | None:
    if handler is None:
        return None
    if (declaration := declaration_of(handler)) is None:
        raise DeclarationError(f"{handler!r} has no declaration; put @function(…) above it, or leave it out here")
    return declaration


def _routes(declared: Declaration | None, emits: str | Iterable[str] | None) -> Routes:
    if emits is not None:
        return Routes((emits,) if isinstance(emits, str) else tuple(emits), {})
    return routes_of(declared.emits) if declared else Routes(_AnyTopic(), {})


def _more_headers(subject: str | None, foreign: HeadersIn | None) -> Iterator[Header]:
    if subject is not None:
        yield "ce_subject", subject.encode()
    for name, value in foreign.items() if isinstance(foreign, Mapping) else foreign or ():
        yield name, value.encode() if isinstance(value, str) else value


def _event(envelope: Envelope, place: tuple[str, int, int], key: bytes | None, record: Sequence[Header]) -> Event:
    return Event(
        envelope.id,
        envelope.source,
        envelope.type,
        envelope.time(0),
        envelope.subject,
        *place,
        None if key is None else key.decode("utf-8", "surrogateescape"),
        tuple(record),
    )
