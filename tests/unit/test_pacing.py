"""Chunks follow the handler's speed."""

from __future__ import annotations

from headrace.runtime.pacing import DEEPEST, MOST, Pacing


def after(seconds_per_event: float) -> Pacing:
    pacing = Pacing()
    for _ in range(100):
        pacing.observe(10, seconds_per_event * 10)
    return pacing


def test_fast_handlers_get_the_largest_chunks_some_deep() -> None:
    assert (after(1e-6).size, after(1e-6).depth) == (MOST, DEEPEST)


def test_slow_handlers_get_one_event_and_nothing_behind_it() -> None:
    assert (after(3.0).size, after(3.0).depth) == (1, 1)


def test_between_them_a_chunk_is_about_25_milliseconds_of_work() -> None:
    assert after(0.005).size in {4, 5}


def test_a_report_of_nothing_changes_nothing() -> None:
    pacing = Pacing()
    before = pacing.seconds_per_event
    pacing.observe(0, 1.0)
    assert pacing.seconds_per_event == before
