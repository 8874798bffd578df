"""How one invocation ended: a closed set, made in the worker, matched exhaustively in the runtime.

These are wire values (msgpack arrays with an integer tag first, see `wire`), so fields may only be added at the end and
with a default. `Crashed` never crosses the wire: the parent makes it when a worker died under an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import msgspec


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error as it goes into logs and dead letters: text only, because the parent has none of the user's classes.

    `type` is the exception's qualified name, or one of headrace's words (`Rejected`, `loop`, `HandlerTimeout`, …).
    `stack` holds the user's frames only. `fingerprint` is equal for failures of the same kind at the same place.
    """

    type: str
    message: str
    stack: str = ""
    fingerprint: str = ""


class Emitted(msgspec.Struct, frozen=True, array_like=True):
    """An event the handler emitted, ready to append. `headers` is a header block (see `headers`)."""

    topic: str
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes
    id: str
    type: str | None = None


class Done(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=0):
    """The handler returned."""

    emits: list[Emitted] = []


class Skipped(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=1):
    """Not for this handler; `reason` is "type", "null" or "where"."""

    reason: str
    type: str | None = None


class Rejected(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=2):
    """Dead letter now: undecodable, `Reject` raised, or too many hops."""

    failure: Failure


class Failed(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=3):
    """The handler raised. `rule` is the index of the retry rule that applies, None if it is not to be retried."""

    failure: Failure
    rule: int | None = 0


class Postponed(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=4):
    """The handler raised `RetryAfter(seconds)`."""

    seconds: float


class TimedOut(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=5):
    """The handler was still running at its deadline."""

    failure: Failure


class NotRun(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=6):
    """Never started: an earlier event of its lane did not end well, or the worker was recalled. Not an attempt."""


class Crashed(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=7):
    """The worker died while this event, and no other, was running in it."""

    failure: Failure


class Divided(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=8):
    """The batch it was in failed as a whole. Not an attempt: it runs again with its `half` of them (0 or 1) alone."""

    half: int


Outcome = Done | Skipped | Rejected | Failed | Postponed | TimedOut | NotRun | Crashed | Divided

WORDS: Mapping[type, str] = {
    Done: "done",
    Skipped: "skipped",
    Rejected: "rejected",
    Failed: "failed",
    Postponed: "postponed",
    TimedOut: "timed-out",
    Crashed: "crashed",
}
"""How people and programs are told that an attempt ended."""

NOT_RUN = NotRun()
ENDED_WELL = (Done, Skipped, Rejected)
"""What lets the next event of the lane run."""


def failure_in(outcome: Outcome) -> Failure | None:
    """Why an event has not passed; None if it was done or skipped."""
    match outcome:
        case Done() | Skipped():
            return None
        case Rejected(failure) | Failed(failure) | TimedOut(failure) | Crashed(failure):
            return failure
        case Postponed(seconds):
            return Failure("RetryAfter", f"asked to be tried again in {seconds:g} s", fingerprint="RetryAfter")
        case NotRun() | Divided():
            return Failure("WorkerCrashed", "the worker did not run the event", fingerprint="WorkerCrashed")
        case _:
            assert_never(outcome)


def half_of(nth: int, count: int) -> int:
    """The half, 0 or 1, that the `nth` of `count` events of a divided batch is in; an odd one is in the first."""
    return 0 if nth < (count + 1) // 2 else 1
