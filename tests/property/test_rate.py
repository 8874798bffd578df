"""The rate of a function: never more starts than allowed in any span of time, and never none for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.rate import Rate
from headrace.sandbox.manifest import BatchPolicy

RATES = st.floats(1e-3, 1e5)
BATCHES = st.none() | st.builds(BatchPolicy, st.integers(1, 500), st.floats(0, 60))
STEPS = st.lists(st.tuples(st.floats(-2, 5), st.integers(0, 500)), max_size=60)
TINY = 1e-6


@given(per_second=RATES, batch=BATCHES, steps=STEPS)
def test_no_span_of_time_has_more_starts_than_the_burst_and_its_share(
    per_second: float, batch: BatchPolicy | None, steps: list[tuple[float, int]]
) -> None:
    rate, now, gone = Rate(per_second, 100.0, batch), 100.0, 0.0
    starts: list[tuple[float, int]] = []  # when, as time went forward, and how many
    for step, wanted in steps:
        now, gone = now + step, gone + max(0.0, step)
        if count := min(wanted, rate.allowed(now)):
            rate.take(count, now)
            starts.append((gone, count))
    for number, (since, _) in enumerate(starts):
        total = 0
        for at, count in starts[number:]:
            total += count
            assert total <= (rate.burst + per_second * (at - since)) * (1 + TINY) + TINY


@given(
    per_second=RATES,
    batch=BATCHES,
    takes=st.lists(st.integers(1, 500), min_size=1, max_size=20),
    back=st.floats(0, 1e6),
)
def test_after_the_time_it_says_one_may_start(
    per_second: float, batch: BatchPolicy | None, takes: list[int], back: float
) -> None:
    rate, now = Rate(per_second, 0.0, batch), 0.0
    for wanted in takes:
        now += rate.next_in(now) + TINY / per_second
        allowed = rate.allowed(now)
        assert allowed >= 1
        rate.take(min(wanted, allowed), now)
    now -= back
    rate.allowed(now)
    worth = max(1.0, per_second / 100, min(batch.size, per_second * batch.wait) if batch else 0)
    assert rate.next_in(now) <= worth / per_second * (1 + TINY), "a clock set back costs no more"


@given(per_second=RATES, idle=st.floats(0, 1e9))
def test_what_was_not_used_is_not_saved_up(per_second: float, idle: float) -> None:
    assert Rate(per_second, 0.0).allowed(idle) <= max(1, per_second / 10 * (1 + TINY))


def test_it_says_in_a_sentence_how_it_stands() -> None:
    rate = Rate(50, 0.0)
    rate.take(3, 0.0)
    assert repr(rate) == "<Rate of 50 a second: 2.0 of 5 may start>"
