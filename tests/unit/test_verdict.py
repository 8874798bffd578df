"""What follows from each outcome."""

from __future__ import annotations

import pytest

from headrace.runtime.verdict import Again, Finish, GiveBack, SetAside, judge
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import (
    Crashed,
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

POLICY = RetryPolicy(attempts=3, delay=2.0, factor=3.0, max_delay=60.0, jitter="none", max_age=None)
OTHER = RetryPolicy(attempts=9, delay=7.0, factor=1.0, max_delay=60.0, jitter="none", max_age=None)
FAILURE = Failure("ValueError", "no")
EMIT = Emitted("emails", 0, 1, None, b"{}", b"", "id")


def verdict(outcome: Outcome, *, failures: int = 0, age_ms: int = 0, policy: RetryPolicy = POLICY) -> object:
    return judge(outcome, [OTHER, policy], failures=failures, age_ms=age_ms, draw=0.5)


def test_done_publishes_what_was_emitted() -> None:
    assert verdict(Done([EMIT])) == Finish([EMIT])


def test_skipped_ends_without_a_trace() -> None:
    assert verdict(Skipped("type", "Other")) == Finish([])


def test_not_run_is_given_back_and_never_an_attempt() -> None:
    assert verdict(NotRun(), failures=2) == GiveBack()


def test_rejected_is_set_aside_at_once() -> None:
    assert verdict(Rejected(FAILURE)) == SetAside(FAILURE, 1)


@pytest.mark.parametrize("outcome", [Failed(FAILURE, 1), TimedOut(FAILURE), Crashed(FAILURE)])
def test_a_failed_attempt_is_tried_again_with_growing_delays_until_attempts_are_used(outcome: Outcome) -> None:
    assert verdict(outcome, failures=0) == Again(2000, FAILURE)
    assert verdict(outcome, failures=1) == Again(6000, FAILURE)
    assert verdict(outcome, failures=2) == SetAside(FAILURE, 3)


def test_an_exception_no_rule_retries_is_set_aside_at_the_first_attempt() -> None:
    assert verdict(Failed(FAILURE, rule=None)) == SetAside(FAILURE, 1)


def test_retry_after_waits_as_long_as_asked_and_uses_an_attempt() -> None:
    again = verdict(Postponed(7.5))
    assert isinstance(again, Again)
    assert again.delay_ms == 7500
    exhausted = verdict(Postponed(7.5), failures=2)
    assert isinstance(exhausted, SetAside)
    assert exhausted.failure.type == "RetryAfter"


def test_an_event_over_its_maximum_age_is_not_tried_again() -> None:
    policy = RetryPolicy(attempts=9, delay=1.0, factor=1.0, max_delay=1.0, jitter="none", max_age=10.0)
    assert isinstance(verdict(Failed(FAILURE, 1), age_ms=10_000, policy=policy), Again)
    assert verdict(Failed(FAILURE, 1), age_ms=10_001, policy=policy) == SetAside(FAILURE, 1)


def test_the_rule_that_the_exception_fits_applies_and_what_no_exception_explains_follows_the_last() -> None:
    assert verdict(Failed(FAILURE, 0), failures=4) == Again(7000, FAILURE)
    assert isinstance(verdict(Failed(FAILURE, 1), failures=4), SetAside)
    assert isinstance(verdict(TimedOut(FAILURE), failures=4), SetAside)
    assert verdict(Failed(FAILURE, 99)) == verdict(Failed(FAILURE, 1)), "a number out of range is the last rule"
