"""What became of one attempt, as a value: all that a line or a JSON document says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.functions.cloudevents import Malformed, read
from headrace.runtime.result import Result
from headrace.runtime.verdict import Again, GiveBack, SetAside
from headrace.sandbox.headers import by_name
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import (
    WORDS,
    Done,
    Emitted,
    Failed,
    Failure,
    Outcome,
    Skipped,
)

WELL = frozenset({"done", "skipped"})


@dataclass(frozen=True, slots=True)
class Account:
    """One attempt. `then` is what follows: "again" (in `again_s` seconds), "dead-lettered", "discarded" or nothing.

    `code` is the fingerprint of what ran. The place is where the event lay first. `spent_ms` is None where nobody
    knows, after a crash.
    """

    at: datetime
    function: str
    type: str | None
    id: str
    topic: str
    partition: int
    offset: int
    attempt: int
    attempts: int
    outcome: str
    why: str
    then: str
    again_s: float | None
    spent_ms: float | None
    emits: tuple[Emitted, ...]
    failure: Failure | None
    code: str

    @property
    def emitted(self) -> Counter[tuple[str, str | None]]:
        """How many events went to which topic, by type."""
        return Counter((one.topic, one.type) for one in self.emits)

    def document(self) -> dict[str, Any]:
        """The account as `--json` prints it."""
        failure = self.failure
        return {
            "time": self.at.isoformat(timespec="milliseconds"),
            "function": self.function,
            "type": self.type,
            "id": self.id,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "attempt": self.attempt,
            "attempts": self.attempts,
            "outcome": self.outcome,
            "why": self.why or None,
            "then": self.then or None,
            "again_in_s": self.again_s,
            "duration_ms": self.spent_ms,
            "code": self.code,
            "emits": [{"topic": one.topic, "type": one.type, "id": one.id} for one in self.emits],
            "error": failure
            and {
                "type": failure.type,
                "message": failure.message,
                "stack": failure.stack,
                "fingerprint": failure.fingerprint,
            },
        }


def outcome_word(result: Result) -> str | None:
    """How an attempt ended, in a word; None if it was none."""
    return None if isinstance(result.verdict, GiveBack) else WORDS[type(result.outcome)]


def account_of(function: FunctionSpec, result: Result, at: datetime) -> Account | None:
    """The account of an attempt; None for an event that was given back, which is none."""
    word = outcome_word(result)
    if word is None:
        return None
    (topic, partition), offset = result.partition, result.record.offset
    id_, type_ = _identity(result, (topic, partition, offset))
    outcome, verdict = result.outcome, result.verdict
    then, again_s, failure = "", None, None
    if isinstance(verdict, Again):
        then, again_s, failure = "again", verdict.delay_ms / 1000, verdict.failure
    elif isinstance(verdict, SetAside):
        then, failure = "dead-lettered" if function.discard is None else "discarded", verdict.failure
    return Account(
        at=at,
        function=function.name,
        type=type_,
        id=id_,
        topic=topic,
        partition=partition,
        offset=offset,
        attempt=result.attempt,
        attempts=_attempts(function, outcome),
        outcome=word,
        why=_why(outcome),
        then=then,
        again_s=again_s,
        spent_ms=round(result.spent_ns / 1e6, 3) if result.spent_ns else None,
        emits=tuple(outcome.emits) if isinstance(outcome, Done) else (),
        failure=failure,
        code=result.code,
    )


def _identity(result: Result, place: tuple[str, int, int]) -> tuple[str, str | None]:
    try:
        envelope = read(by_name(result.record.headers), result.record.value, place, "")
    except (Malformed, ValueError):
        return "/".join(map(str, place)), None
    return envelope.id, envelope.type


def _attempts(function: FunctionSpec, outcome: Outcome) -> int:
    """How many attempts there are under the rule that applies."""
    rule = outcome.rule if isinstance(outcome, Failed) else None
    return function.retry[-1 if rule is None else rule].attempts


def _why(outcome: Outcome) -> str:
    match outcome:
        case Skipped("type", type_):
            return f"of type {type_}" if type_ else "of another type"
        case Skipped("null"):
            return "no data"
        case Skipped(reason):
            return reason
        case _:
            return ""
