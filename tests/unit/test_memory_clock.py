"""Virtual time: what is due is called, in order, at its own time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.alarm import Alarm
from headrace.triggers.brokers.memory import VirtualClock


def test_time_stands_still_until_it_is_told_to_pass():
    clock = VirtualClock(start_ms=5_000)
    assert (clock.monotonic(), clock.now_ms(), clock.next_due()) == (0.0, 5_000, None)
    clock.advance(1.5)
    assert (clock.monotonic(), clock.now_ms()) == (1.5, 6_500)


def test_callbacks_of_one_moment_run_in_the_order_they_were_set():
    clock, called = VirtualClock(), []
    for name in "abc":
        clock.call_at(1.0, lambda name=name: called.append(name))
    clock.advance(1.0)
    assert called == ["a", "b", "c"]


def test_a_callback_set_for_the_past_runs_in_the_next_advance():
    clock, called = VirtualClock(), []
    clock.advance(10)
    clock.call_at(3.0, lambda: called.append(clock.monotonic()))
    assert clock.next_due() == 10.0
    assert called == []
    clock.advance(0)
    assert called == [10.0]


def test_what_a_callback_sets_runs_in_the_same_advance_if_it_falls_due():
    clock, called = VirtualClock(), []

    def tick() -> None:
        called.append(clock.monotonic())
        clock.call_at(clock.monotonic() + 0.25, tick)

    clock.call_at(0.25, tick)
    clock.advance(1.0)
    assert called == [0.25, 0.5, 0.75, 1.0]
    assert clock.next_due() == 1.25


def test_a_cancelled_callback_is_never_due_and_cancelling_again_does_nothing():
    clock, called = VirtualClock(), []
    cancel = clock.call_at(1.0, lambda: called.append("cancelled"))
    clock.call_at(2.0, lambda: called.append("kept"))
    cancel()
    cancel()
    assert clock.next_due() == 2.0
    clock.advance(5)
    cancel()
    assert called == ["kept"]
    assert "0 timers" in repr(clock)


@given(ms=st.integers(0, 10**10), before=st.floats(0, 10**5))
def test_an_alarm_rings_when_the_wall_clock_has_reached_its_time(ms, before):
    clock = VirtualClock()
    clock.advance(before)
    rung = []
    at = clock.now_ms() + ms
    Alarm(clock, lambda: rung.append(clock.now_ms())).set(at)
    clock.advance(ms / 1000 + 0.001)
    assert rung == [at]


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=30), st.lists(st.floats(0, 20), max_size=20))
def test_whatever_the_steps_callbacks_run_once_in_time_order_unless_cancelled(timers, steps):
    clock, called = VirtualClock(), []
    for number, (when, cancelled) in enumerate(timers):
        cancel = clock.call_at(when, lambda entry=(when, number): called.append((*entry, clock.monotonic())))
        if cancelled:
            cancel()
    for step in (0.0, *steps):
        clock.advance(step)
    due = sorted((round(when * 1e9), n) for n, (when, cancelled) in enumerate(timers) if not cancelled)
    assert [n for _, n, _ in called] == [n for when, n in due if when <= round(clock.monotonic() * 1e9)]
    assert all(abs(at - when) < 1e-8 for when, _, at in called)
