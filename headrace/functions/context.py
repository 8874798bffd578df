"""What a handler gets beside its payload."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

from headrace.functions.codec import HeadersIn
from headrace.functions.emits import INHERIT, Emit, Inherit, Outbox
from headrace.functions.errors import EmitRefused, HeadraceError
from headrace.functions.event import Event

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

T = TypeVar("T", default=None)


class Context(Generic[T]):
    """One invocation: the event, which attempt this is, how long it may take, and what it emits.

    `attempt` is 1 for the first try and counts charged failures only. `deadline` is on the clock of
    `time.monotonic()`. `state` is what the declaration's `setup=` yielded, None without one. `Context[T]` types it;
    a plain `Context` is `Context[None]`:

        def mailbox() -> Iterator[SMTP]:
            with SMTP(os.environ["SMTP_HOST"]) as smtp:
                yield smtp

        @function("orders", setup=mailbox)
        def confirm(order: Order, ctx: Context[SMTP]) -> None: ...
    """

    __slots__ = ("_event", "_log", "_make_event", "_make_log", "_outbox", "attempt", "deadline", "state")

    def __init__(
        self,
        make_event: Callable[[], Event],
        make_log: Callable[[Event], BoundLogger],
        *,
        outbox: Outbox,
        attempt: int,
        deadline: float,
        state: T,
    ) -> None:
        self._make_event = make_event
        self._make_log = make_log
        self._event: Event | None = None
        self._log: BoundLogger | None = None
        self._outbox = outbox
        self.attempt = attempt
        self.deadline = deadline
        self.state = state

    @property
    def event(self) -> Event:
        """The event being handled."""
        if self._event is None:  # most handlers look at the payload only: not made until asked for
            self._event = self._make_event()
        return self._event

    @property
    def events(self) -> tuple[Event, ...]:
        """The events being handled: in a batch the i-th is that of the i-th payload, else there is one."""
        return (self.event,)

    @property
    def log(self) -> BoundLogger:
        """A structured logger bound to the function and the event: `ctx.log.info("sent", to=order.email)`."""
        if self._log is None:
            self._log = self._make_log(self.event)
        return self._log

    @property
    def remaining(self) -> float:
        """Seconds left until the deadline; never negative."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def emitted(self) -> tuple[Emit, ...]:
        """What was emitted through this context so far; published only if the invocation succeeds."""
        return tuple(self._outbox.emits)

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
        """Buffer an event for a declared topic; published only if this invocation succeeds.

        `key` defaults to the key of the event being handled; None writes a null key. `type` defaults to the data's
        type name. In a batch `cause` is required: the index of the event that this one comes of. Its key is inherited,
        and only if that event ends well is this one published. Raises `EmitRefused` if the topic is not declared or the
        data cannot be written.
        """
        if cause:
            raise EmitRefused(f"emit to {topic!r}: cause={cause} is for batch handlers; here is one event")
        self._outbox.emit(topic, data, key=key, type=type, headers=headers)

    def fail(self, index: int, error: BaseException) -> None:
        """Say that event `index` of a batch has failed, as if it had been handled alone and `error` been raised.

        So `Reject` and `RetryAfter` mean what they mean elsewhere. What follows it in its lane (events of its key; with
        `order="partition"` all) is then taken as not run, unless it was rejected: it comes again, uncharged. For batch
        handlers only.
        """
        raise HeadraceError(f"ctx.fail({index}, …) is for batch handlers; raise the error instead") from error

    def __repr__(self) -> str:
        return f"<Context {self.event.id}, attempt {self.attempt}, {len(self._outbox.emits)} emitted>"
