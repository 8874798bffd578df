"""Delays between tries: bounded, growing, and never an arithmetic error."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from headrace import Retry
from headrace.functions.retry import delay_before

seconds = st.floats(0, 1e9)
factors = st.floats(1, 1e6)
draws = st.floats(0, 1, exclude_max=True)
retries = st.one_of(st.integers(1, 50), st.integers(1, 10**12))


@given(retries, seconds, factors, seconds, st.sampled_from(["full", "none"]), draws)
@example(10**12, 0.0, 2.0, 60.0, "none", 0.5)
@example(10**12, 1.0, 2.0, 60.0, "full", 0.0)
def test_a_delay_is_between_nothing_and_its_ceiling(
    retry: int, delay: float, factor: float, max_delay: float, jitter: str, draw: float
) -> None:
    assert (
        0 <= delay_before(retry, delay=delay, factor=factor, max_delay=max_delay, jitter=jitter, draw=draw) <= max_delay
    )


@given(retries, seconds, factors, seconds)
def test_the_ceiling_never_falls_from_one_retry_to_the_next(
    retry: int, delay: float, factor: float, max_delay: float
) -> None:
    def ceiling(nth: int) -> float:
        return delay_before(nth, delay=delay, factor=factor, max_delay=max_delay, jitter="none", draw=0.0)

    assert ceiling(retry) <= ceiling(retry + 1)


@given(retries, seconds, factors, seconds, draws)
def test_full_jitter_is_that_part_of_the_ceiling(
    retry: int, delay: float, factor: float, max_delay: float, draw: float
) -> None:
    ceiling = delay_before(retry, delay=delay, factor=factor, max_delay=max_delay, jitter="none", draw=draw)
    jittered = delay_before(retry, delay=delay, factor=factor, max_delay=max_delay, jitter="full", draw=draw)
    assert jittered == ceiling * draw


@given(retries, factors, seconds)
def test_no_delay_stays_none_however_often(retry: int, factor: float, max_delay: float) -> None:
    assert delay_before(retry, delay=0.0, factor=factor, max_delay=max_delay, jitter="none", draw=0.5) == 0


def test_the_first_delays_are_those_of_the_formula() -> None:
    delays = [delay_before(n, delay=1.0, factor=2.0, max_delay=10.0, jitter="none", draw=0.0) for n in range(1, 7)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_on_and_not_on_say_which_errors_are_retried() -> None:
    retry = Retry(on=(OSError, ValueError), not_on=(PermissionError,))
    assert retry.retries(TimeoutError())
    assert retry.retries(UnicodeError())
    assert not retry.retries(PermissionError())
    assert not retry.retries(KeyError())
    assert Retry().retries(KeyError())
    assert not Retry().retries(SystemExit())
