"""One invocation, from a record's bytes to an outcome.

    read the envelope -> count hops -> decode -> where -> call -> route what it returned -> outcome

It is one coroutine for sync and async handlers: for a sync one it never suspends, so that no event loop is needed to
drive it, and the handler may run a loop of its own. What nobody asks for is not made: no event, no context and no
outbox for a handler that takes its payload and returns nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headrace.functions.cloudevents import Envelope, Malformed, read
from headrace.functions.context import Context
from headrace.functions.emits import Cause, Emit, Outbox
from headrace.functions.errors import EmitRefused
from headrace.functions.event import Event
from headrace.functions.outcome import Reject, RetryAfter
from headrace.functions.partition import partition_of
from headrace.functions.payload import Skip, Unfit
from headrace.functions.retry import rule_of
from headrace.functions.signature import Handler
from headrace.sandbox import capture
from headrace.sandbox.failure import failure_of, refusal
from headrace.sandbox.headers import by_name, pack, record_size, unpack
from headrace.sandbox.outcome import Done, Emitted, Failed, Outcome, Postponed, Rejected, Skipped, TimedOut
from headrace.sandbox.usercode import UserCode
from headrace.sandbox.wire import Chunk, Outlet, Start, Task

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

MAX_EMITS = 4 << 20  # bytes of all emits of one invocation: an outcome must fit a report

NOT_A_PAYLOAD = frozenset({Skip, Unfit})


class HandlerTimeout(BaseException):
    """The event's time is up. Raised in the handler; not an `Exception`, so that a broad `except` does not stop it."""


class Invocation:
    """How events are run through one handler. `state` is what its setup yielded. `timed`: each one's time is reported.

    The cluster's name is the source of records that name none.
    """

    def __init__(self, handler: Handler, user_code: UserCode, start: Start) -> None:
        declaration = handler.declaration
        self.state: Any = None
        self.handler = handler
        self.timed = start.timed
        self._user_code = user_code
        self._call = declaration.handler
        self._name = declaration.name
        self._is_async = handler.is_async
        self._takes_context = handler.takes_context
        self._decode = handler.payload.decode
        self._where = declaration.where
        self._max_hops = declaration.max_hops
        self._rules = declaration.rules
        self._timeout = declaration.timeout
        self._app = start.app
        self._cluster = start.cluster
        self._outlets: Mapping[str, Outlet] = start.outlets

    async def run(
        self, chunk: Chunk, task: Task, started_ns: int, is_late: Callable[[], bool] | None = None
    ) -> Outcome | None:
        """Handle one event; never raises but for a `HandlerTimeout` that strikes outside of the handler.

        None stands for `Done` without emits. `is_late` says whether a cancellation was for its time being up; without
        it the time since `started_ns` does.
        """
        try:
            return await self._run(chunk, task, started_ns)
        except BaseException as error:  # noqa: BLE001  (SystemExit too: it is one handler's failure, not the worker's end)
            return self._ended_by(error, is_late() if is_late else self._is_over(started_ns))

    def timed_out(self, error: BaseException) -> TimedOut:
        """The outcome of an event whose time was up; `error` shows where it was."""
        message = f"still running {self._timeout:g} s after it started"
        return TimedOut(failure_of(error, self._user_code, type_="HandlerTimeout", message=message))

    async def _run(self, chunk: Chunk, task: Task, started_ns: int) -> Outcome | None:
        at = task.origin
        place = (at.topic, at.partition, at.offset) if at else (chunk.topic, chunk.partition, task.offset)
        envelope = read(by_name(task.headers), task.value, place, self._cluster)
        capture.running.set(envelope)
        if (hops := envelope.hops) > self._max_hops:
            return Rejected(refusal("loop", f"went through {hops} handlers, max_hops is {self._max_hops}"))
        payload = self._decode(envelope.type, envelope.data)
        if type(payload) in NOT_A_PAYLOAD:
            return unwelcome(payload)
        if self._where is not None and not self._where(payload, self._event(envelope, task)):
            return Skipped("where")
        outbox = None
        if self._takes_context:
            outbox = self._outbox(envelope, task)
            returned = self._call(payload, self._context(outbox, envelope, task, started_ns))
        else:
            returned = self._call(payload)
        if self._is_async:
            returned = await returned
        if returned is not None:
            outbox = outbox or self._outbox(envelope, task)
            outbox.returned(returned)
        return Done(self._emitted(outbox.emits)) if outbox is not None and outbox.emits else None

    # -- made when asked for ------------------------------------------------------------------------------------------

    def _outbox(self, envelope: Envelope, task: Task) -> Outbox:
        cause = Cause(envelope, task.key)
        return Outbox(self._app, self._name, self.handler.routes, cause)

    def _context(self, outbox: Outbox, envelope: Envelope, task: Task, started_ns: int) -> Context[Any]:
        return Context(
            lambda: self._event(envelope, task),
            self._logger,
            outbox=outbox,
            attempt=task.attempt,
            deadline=started_ns / 1e9 + self._timeout,
            state=self.state,
        )

    def _logger(self, event: Event | None) -> BoundLogger:
        return capture.logger_for(event, self._name)

    def _event(self, envelope: Envelope, task: Task) -> Event:
        topic, partition, offset = envelope.place
        return Event(
            id=envelope.id,
            source=envelope.source,
            type=envelope.type,
            time=envelope.time(task.timestamp),
            subject=envelope.subject,
            topic=topic,
            partition=partition,
            offset=offset,
            key=None if task.key is None else task.key.decode("utf-8", "surrogateescape"),
            headers=tuple(unpack(task.headers)),
        )

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def _emitted(self, emits: list[Emit]) -> list[Emitted]:
        now_ms = time.time_ns() // 1_000_000
        emitted = []
        size = 0
        for emit in emits:
            emitted.append(one := self._place(emit, now_ms))
            size += record_size(one.key, one.value, one.headers)
        if size > MAX_EMITS:
            raise EmitRefused(
                f"{len(emitted):,} emits of {size:,} bytes in all, over the limit of {MAX_EMITS:,} for one event: "
                "emit less for each event, or keep large content elsewhere and emit references to it"
            )
        return emitted

    def _place(self, emit: Emit, now_ms: int) -> Emitted:
        if (outlet := self._outlets.get(emit.topic)) is None:
            raise EmitRefused(f"topic {emit.topic!r} was not there when this worker started; restart the runtime")
        # A null key goes by the event's id, so that a redelivery, which derives the same id, writes to the same place.
        topic, key, value, headers, id_, type_ = emit
        if key is None and outlet.keyed:
            raise EmitRefused(
                f"topic {topic!r} is compacted (it keeps the last record of each key), so an event without a key "
                f"cannot be emitted to it: give it one, as in ctx.emit({topic!r}, …, key=…)"
            )
        partition = partition_of(id_.encode() if key is None else key, outlet.partitions)
        emitted = Emitted(topic, partition, now_ms, key, value, pack(headers), id_, type_)
        limit = outlet.max_bytes
        if limit is not None and (size := record_size(key, value, emitted.headers)) > limit:
            raise EmitRefused(
                f"an event for topic {topic!r} has {size:,} bytes with its key and headers; the topic takes "
                f"{limit:,}: keep large content elsewhere and emit a reference to it, or raise its limit"
            )
        return emitted

    def _ended_by(self, error: BaseException, late: bool) -> Outcome:  # noqa: PLR0911
        """The outcome of what ended by `error`; `late`: its time is up."""
        match error:
            case Malformed():
                return Rejected(refusal("Rejected", str(error)))
            case Reject(reason=reason):
                return Rejected(failure_of(error, self._user_code, type_="Rejected", message=reason))
            case RetryAfter(seconds=seconds):
                return Postponed(seconds)
            case EmitRefused():
                return Failed(failure_of(error, self._user_code, type_="EmitRefused"), None)
            case HandlerTimeout():
                return self.timed_out(error)
            case asyncio.CancelledError() if late:  # the watch's, then; else it is the handler's own doing
                return self.timed_out(error)
            case _:
                return Failed(failure_of(error, self._user_code), rule_of(self._rules, error))

    def _is_over(self, started_ns: int) -> bool:
        return time.monotonic_ns() - started_ns >= self._timeout * 1e9

    def __repr__(self) -> str:
        return f"<Invocation of {self.handler.declaration.name}, timeout {self._timeout:g} s>"


def unwelcome(payload: Skip | Unfit) -> Outcome:
    """The outcome of an event that has no payload for the handler."""
    if isinstance(payload, Skip):
        return Skipped(payload.reason, payload.type)
    return Rejected(refusal("Rejected", payload.message))
