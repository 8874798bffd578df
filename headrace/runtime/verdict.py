"""What follows from an outcome: the one place that decides between done, another attempt, and the dead-letter topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from headrace.functions.retry import delay_before
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import (
    Crashed,
    Divided,
    Done,
    Emitted,
    Failed,
    Failure,
    NotRun,
    Outcome,
    Postponed,
    Rejected,
    Skipped,
    TimedOut,
)


@dataclass(frozen=True, slots=True)
class Finish:
    """The event has ended; publish what it emitted."""

    emits: list[Emitted]


@dataclass(frozen=True, slots=True)
class Again:
    """The attempt is charged; try again after `delay_ms`, once the charge is durable."""

    delay_ms: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class SetAside:
    """No further attempt: dead-letter (or discard) the event after `attempts` tries."""

    failure: Failure
    attempts: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """It was not run: no attempt, and it is its lane's next again."""


Verdict = Finish | Again | SetAside | GiveBack


def judge(outcome: Outcome, rules: Sequence[RetryPolicy], *, failures: int, age_ms: int, draw: float) -> Verdict:  # noqa: PLR0911
    """The verdict on an attempt of an event with `failures` charged before it and a record `age_ms` old.

    A `Failed` names the rule that applies to it; timeouts, crashes and `RetryAfter` follow the last one. `draw` from
    [0, 1) is the randomness of the jitter.
    """
    match outcome:
        case Done(emits):
            return Finish(emits)
        case Skipped():
            return Finish([])
        case NotRun() | Divided():
            return GiveBack()
        case Rejected(failure):
            return SetAside(failure, failures + 1)
        case Failed(failure, rule):
            # The number comes from the worker: one that is out of range means the last rule, not a crash of ours.
            policy = None if rule is None else rules[rule if 0 <= rule < len(rules) else -1]
            return _charge(failure, policy, failures, age_ms, draw)
        case TimedOut(failure) | Crashed(failure):
            return _charge(failure, rules[-1], failures, age_ms, draw)
        case Postponed(seconds):
            return _postpone(seconds, rules[-1], failures, age_ms)
        case _:
            assert_never(outcome)


def _charge(failure: Failure, policy: RetryPolicy | None, failures: int, age_ms: int, draw: float) -> Verdict:
    if policy is None or failures + 1 >= policy.attempts or _too_old(policy, age_ms):
        return SetAside(failure, failures + 1)
    delay = delay_before(
        failures + 1,
        delay=policy.delay,
        factor=policy.factor,
        max_delay=policy.max_delay,
        jitter=policy.jitter,
        draw=draw,
    )
    return Again(round(delay * 1000), failure)


def _postpone(seconds: float, policy: RetryPolicy, failures: int, age_ms: int) -> Verdict:
    failure = Failure("RetryAfter", f"asked to be tried again in {seconds:g} s, after {failures + 1} attempts")
    if failures + 1 >= policy.attempts or _too_old(policy, age_ms):
        return SetAside(failure, failures + 1)
    return Again(round(seconds * 1000), failure)


def _too_old(policy: RetryPolicy, age_ms: int) -> bool:
    return policy.max_age is not None and age_ms > policy.max_age * 1000
