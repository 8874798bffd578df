"""Which lines are shown and which are counted, at any rate."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.dev.flood import SECOND, Flood

LIMIT = 10


@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 40), st.sampled_from(["done", "failed"])), max_size=40),
)
def test_nothing_is_lost_and_few_lines_are_shown(bursts: list[tuple[float, int, str]]) -> None:
    flood: Flood[str] = Flood(LIMIT, troubled=2)
    seen: Counter[str] = Counter()
    told: Counter[str] = Counter()
    shown_in: Counter[int] = Counter()
    now, second = 100.0, 0
    for gap, count, kind in bursts:
        now += gap
        for _ in range(count):
            before = flood._from_s
            told.update(flood.summary(now))
            second += flood._from_s != before
            seen[kind] += 1
            if flood.admit(kind, trouble=kind == "failed"):
                told[kind] += 1
                shown_in[second] += 1
    told.update(flood.end(now))
    assert told == seen
    assert all(shown <= LIMIT + 2 for shown in shown_in.values())


def test_a_trickle_is_shown_whole() -> None:
    flood: Flood[str] = Flood(LIMIT)
    for step in range(100):
        now = step * SECOND / LIMIT
        assert not flood.summary(now)
        assert flood.admit("done")


def test_while_it_lasts_a_flood_is_one_summary_a_second_and_then_lines_are_shown_again() -> None:
    flood: Flood[str] = Flood(LIMIT)
    shown, told = 0, []
    for event in range(20_000):
        now = 1 + event * 0.0002  # 5,000 a second
        if counts := flood.summary(now):
            told.append(counts["done"])
        shown += flood.admit("done")
    assert shown == LIMIT
    assert len(told) == 3
    assert flood.is_counting
    told.append(flood.summary(5.1)["done"])
    assert shown + sum(told) == 20_000
    assert not flood.admit("done")  # the second before had too many
    assert flood.summary(8.0) == {"done": 1}
    assert flood.admit("done")
