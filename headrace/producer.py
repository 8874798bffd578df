"""Producers: append events to the log from any Python program, with the same encoding and partitions as handlers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headrace.delay import due_ms
from headrace.functions import cloudevents
from headrace.functions.codec import HeadersIn, encode, encode_headers, encode_key, encode_text
from headrace.functions.errors import BrokerError, BrokerUnavailable, EmitRefused, UnknownTopic
from headrace.functions.identity import fresh_id
from headrace.runtime.ports import Append, Store, Ticket, TopicSpec
from headrace.runtime.ports import Position as Place
from headrace.runtime.settings import read_settings, topic_of
from headrace.sandbox.headers import pack
from headrace.tickets import Name, Tickets
from headrace.triggers.url import is_embedded, open_broker

T = TypeVar("T")


# What is tried again by itself when its answer is lost: after these pauses, and not when it took that long already.
_PAUSES = (0.1, 0.5)
_PATIENCE = 45.0


class Position(NamedTuple):
    """Where an event was appended, and its id. Partition and offset are -1 for one that waits for its time."""

    topic: str
    partition: int
    offset: int
    id: str


@dataclass(frozen=True, slots=True)
class Item:
    """One event of an `emit_many`, where its data alone does not say it all. Fields as in `Log.emit`."""

    data: object
    key: str | bytes | None = None
    type: str | None = None
    headers: HeadersIn | None = None
    id: str | None = None
    delay: float | None = None
    not_before: datetime | None = None


class Log:
    """A connection for appending events; made by `connect`. `created` names the topics it had to create."""

    def __init__(self, store: Store, *, source: str, make: Callable[[str], TopicSpec] | None) -> None:
        self.source = source
        self.created: list[str] = []
        self._store = store
        self._make = make  # what a topic is made with, if it may be made
        self._tickets = Tickets()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Log to {self._store!r}, source {self.source}>"

    async def emit(
        self,
        topic: str,
        data: object,
        *,
        key: str | bytes | None = None,
        type: str | None = None,  # noqa: A002  (the attribute's name)
        headers: HeadersIn | None = None,
        id: str | None = None,  # noqa: A002
        delay: float | None = None,
        not_before: datetime | None = None,
    ) -> Position:
        """Append one event; returns once it is durable.

        `data` is a pydantic model, a `msgspec.Struct`, anything JSON, `str`, `bytes`, or None for a tombstone. Events
        of one `key` keep their order. The type is the model's, unless given; the id is a fresh one, unless given.
        With `delay` (seconds) or `not_before` (a time with a zone) the event enters its topic when that time has come,
        while any program has the log open, else once one has; on the embedded log only.

        What was not acknowledged is appended again by itself, for up to a minute. Then `BrokerUnavailable` is raised,
        and it may or may not have been written: on the embedded log, emitting it once more over this connection with
        the same `id` appends it once; a Kafka cluster may have it twice. Raises `EmitRefused` for what cannot be
        written, `BrokerError` if the log cannot take it.
        """
        (position,) = await self.emit_many(topic, [Item(data, key, type, headers, id, delay, not_before)])
        return position

    async def emit_many(self, topic: str, items: Iterable[object]) -> Sequence[Position]:
        """Append events, each an `Item` or plain data, in one durable step: all of them or none.

        Raises as `emit` does; what was said there of the `id` holds for the same items, each with an id of its own.
        """
        events = [item if isinstance(item, Item) else Item(item) for item in items]
        if not events:
            return []
        ids = [event.id or fresh_id() for event in events]
        records = [self._record(topic, event, id_) for event, id_ in zip(events, ids, strict=True)]
        given = tuple(event.id for event in events if event.id)
        places = await self._append(topic, records, (topic, given) if len(given) == len(events) else None)
        return [Position(*place, id_) for place, id_ in zip(places, ids, strict=True)]

    def _record(self, topic: str, event: Item, id_: str) -> Append:
        encoded = encode(event.data)
        for name, value in (("type", event.type), ("id", id_), ("topic", topic)):
            _check_text(name, value)
        milliseconds = time.time_ns() // 1_000_000
        own = cloudevents.write(
            id=id_,
            source=self.source,
            type=event.type or encoded.type,
            content_type=encoded.content_type,
            time=datetime.fromtimestamp(milliseconds / 1000, UTC),
        )
        headers = pack(own + encode_headers(event.headers))
        due = due_ms(event.delay, event.not_before, milliseconds)
        return Append(topic, -1, milliseconds, encode_key(event.key), encoded.value, headers, due)

    async def _append(self, topic: str, records: Sequence[Append], name: Name | None) -> Sequence[Place]:
        ticket = self._tickets.take(name)
        try:
            places = await self._append_until_answered(topic, records, ticket)
        except (BrokerUnavailable, asyncio.CancelledError):
            self._tickets.lost(ticket, name)
            raise
        except BaseException:
            self._tickets.answered(ticket)
            raise
        self._tickets.answered(ticket)
        return places

    async def _append_until_answered(self, topic: str, records: Sequence[Append], ticket: Ticket) -> Sequence[Place]:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _PATIENCE
        for pause in _PAUSES if self._store.features.once else ():
            try:
                return await self._append_once(topic, records, ticket)
            except BrokerUnavailable:
                if self._closed or loop.time() > give_up:
                    raise
            await asyncio.sleep(pause)
        return await self._append_once(topic, records, ticket)

    async def _append_once(self, topic: str, records: Sequence[Append], ticket: Ticket) -> Sequence[Place]:
        try:
            return await self._store.append(records, ticket=ticket)
        except UnknownTopic:
            if self._make is None:
                raise
        self.created.extend(await self._store.ensure([self._make(topic)]))
        return await self._store.append(records, ticket=ticket)

    async def _close(self) -> None:
        self._closed = True
        await self._store.close()


class SyncLog:
    """`Log` for code without a loop, or inside one that may block; made by `connect_sync`. Usable from any thread."""

    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<SyncLog: {self._log!r}>"

    @property
    def created(self) -> Sequence[str]:
        """The topics it had to create."""
        return self._log.created

    def emit(
        self,
        topic: str,
        data: object,
        *,
        key: str | bytes | None = None,
        type: str | None = None,  # noqa: A002
        headers: HeadersIn | None = None,
        id: str | None = None,  # noqa: A002
        delay: float | None = None,
        not_before: datetime | None = None,
    ) -> Position:
        """See `Log.emit`."""
        (position,) = self.emit_many(topic, [Item(data, key, type, headers, id, delay, not_before)])
        return position

    def emit_many(self, topic: str, items: Iterable[object]) -> Sequence[Position]:
        """See `Log.emit_many`."""
        if self._loop.is_closed():
            raise BrokerUnavailable("this connection is closed: connect again to emit")
        if os.getpid() != self._process:  # the thread that would answer is not here
            raise BrokerError("this connection was made before a fork, and cannot be used in the child: connect there")
        return _wait(self._loop, self._log.emit_many(topic, items))


@asynccontextmanager
async def connect(url: str | None = None, *, source: str | None = None) -> AsyncIterator[Log]:
    """A connection to the broker at `url` (default: as set, `HEADRACE_BROKER` for example, or the embedded log here).

    How a Kafka cluster is reached comes from the same settings as for the command line (`HEADRACE_KAFKA__…`,
    `[tool.headrace.kafka]`). `source` is the CloudEvents source of what is emitted; default: the id of the log. On the
    embedded log, a topic is created at its first event. Raises `SettingsError` for a URL that names no broker or for a
    wrong setting, `BrokerError` if it cannot be opened.
    """
    settings = read_settings(Path.cwd(), broker=url or None)
    store = await open_broker(settings.broker, kafka=settings.kafka)
    make = partial(topic_of, settings) if is_embedded(settings.broker) else None
    log = Log(store, source=source or store.cluster, make=make)
    try:
        yield log
    finally:
        await log._close()


@contextmanager
def connect_sync(url: str | None = None, *, source: str | None = None) -> Iterator[SyncLog]:
    """`connect` for code that does not await: the connection lives on a thread of its own."""
    with _loop_thread() as loop:
        connection = connect(url, source=source)
        log = _wait(loop, connection.__aenter__())
        try:
            yield SyncLog(log, loop)
        finally:
            _wait(loop, connection.__aexit__(None, None, None))


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise EmitRefused(f"{name}={value!r} is {type(value).__qualname__}: the {name} of an event is text")
    encode_text(f"the {name}", value or "")


@contextmanager
def _loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    # A daemon: a caller that dies in the middle must not be kept from ending.
    thread = threading.Thread(target=loop.run_forever, name="headrace-producer", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        _wait(loop, loop.shutdown_default_executor())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _wait(loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(call, loop).result()
