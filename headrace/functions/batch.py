"""What a batch handler gets beside its payloads: the context of many events at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headrace.functions.codec import HeadersIn
from headrace.functions.context import Context, T
from headrace.functions.emits import INHERIT, Emit, Inherit, Outbox
from headrace.functions.errors import EmitRefused, HeadraceError
from headrace.functions.event import Event

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger


class BatchContext(Context[T]):
    """One invocation with a batch. Handlers annotate it as `Context`, as they do for single events.

    What is said of event `i` is about the i-th payload. `attempt` is that of all of them: an event that has failed
    before comes in a batch of its own.
    """

    __slots__ = ("_events", "_failed", "_make_events", "_make_plain_log", "_outboxes")

    def __init__(
        self,
        make_events: Callable[[], tuple[Event, ...]],
        make_log: Callable[[], BoundLogger],
        *,
        outboxes: Sequence[Outbox],
        attempt: int,
        deadline: float,
        state: T,
    ) -> None:
        super().__init__(
            self._no_event, lambda _: make_log(), outbox=outboxes[0], attempt=attempt, deadline=deadline, state=state
        )
        self._make_events = make_events
        self._make_plain_log = make_log
        self._events: tuple[Event, ...] | None = None
        self._outboxes = outboxes
        self._failed: dict[int, BaseException] = {}

    @property
    def events(self) -> tuple[Event, ...]:
        """The events being handled, in the order of their payloads."""
        if self._events is None:
            self._events = self._make_events()
        return self._events

    @property
    def log(self) -> BoundLogger:
        """A structured logger bound to the function: say which event you mean, for example by its id."""
        if self._log is None:
            self._log = self._make_plain_log()
        return self._log

    @property
    def emitted(self) -> tuple[Emit, ...]:
        """What was emitted so far, by event; published only for those that end well."""
        return tuple(emit for outbox in self._outboxes for emit in outbox.emits)

    @property
    def failed(self) -> dict[int, BaseException]:
        """The events that were said to have failed, and why."""
        return dict(self._failed)

    def fail(self, index: int, error: BaseException) -> None:
        """Say that one event has failed; see `Context.fail`."""
        if not isinstance(error, BaseException):
            raise HeadraceError(
                f"ctx.fail({index}, {error!r}): the second argument is an exception, as one would raise"
            )
        self._failed[self._index(index)] = error

    def emit(
        self,
        topic: str,
        data: object,
        *,
        key: str | bytes | Inherit | None = INHERIT,
        type: str | None = None,  # noqa: A002  (the attribute's name)
        headers: HeadersIn | None = None,
        cause: int | None = None,
    ) -> None:
        """Buffer an event that event `cause` of the batch leads to; see `Context.emit`."""
        if cause is None:
            raise EmitRefused(
                f"emit to {topic!r}: in a batch each emit names the event that it comes of: ctx.emit(…, cause=i)"
            )
        self._outboxes[self._index(cause)].emit(topic, data, key=key, type=type, headers=headers)

    def _index(self, index: int) -> int:
        if not 0 <= index < len(self._outboxes):
            raise HeadraceError(f"there is no event {index} in this batch: it has 0 to {len(self._outboxes) - 1}")
        return index

    def _no_event(self) -> Event:
        raise HeadraceError("a batch has many events: ctx.events[i] is that of the i-th payload")

    def __repr__(self) -> str:
        failed = f", {len(self._failed)} failed" if self._failed else ""
        return f"<Context of {len(self._outboxes)} events, attempt {self.attempt}, {len(self.emitted)} emitted{failed}>"
