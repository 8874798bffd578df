"""Chunks follow the handler's speed."""

from __future__ import annotations

from headrace.runtime.pacing import DEEPEST, MOST, Pacing


def after(seconds_per_event: float, concurrency: int = 1) -> Pacing:
    pacing = Pacing(concurrency)
    for _ in range(100):
        pacing.observe(10, seconds_per_event * 10)
    return pacing


def test_fast_handlers_get_the_largest_chunks_some_deep() -> None:
    assert after(1e-6).size == MOST
    assert after(1e-6).has_room(DEEPEST - 1, 500)
    assert not after(1e-6).has_room(DEEPEST, 500)


def test_slow_handlers_get_one_event_and_nothing_behind_it() -> None:
    assert after(3.0).size == 1
    assert after(3.0).has_room(0, 0)
    assert not after(3.0).has_room(1, 1)


def test_a_worker_that_runs_many_at_once_has_that_many_whatever_their_speed() -> None:
    pacing = after(3.0, concurrency=50)
    assert pacing.size == 50
    assert pacing.has_room(7, 99), "stragglers of many chunks do not keep it empty"
    assert not pacing.has_room(7, 100)


def test_between_them_a_chunk_is_about_25_milliseconds_of_work() -> None:
    assert after(0.005).size in {4, 5}


def test_a_report_of_nothing_changes_nothing() -> None:
    pacing = Pacing()
    before = pacing.seconds_per_event
    pacing.observe(0, 1.0)
    assert pacing.seconds_per_event == before
