"""The loop of the test kit: it stops where a real one would wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from headrace.testing.loop import LoopClock, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop(0.0)
    yield made
    if not made.is_closed():
        made.bury()


def test_nothing_happens_between_turns_and_nobody_waits_for_real(loop: VirtualLoop) -> None:
    seen: list[float] = []

    async def sleep() -> None:
        for _ in range(3):
            await asyncio.sleep(3600)
            seen.append(loop.time())

    task = loop.create_task(sleep())
    loop.turn()
    assert (loop.due, seen) == (3600, [])
    loop.pass_time(3599)
    loop.turn()
    assert (loop.due, seen) == (1, [])
    while not task.done():
        loop.pass_time(loop.due or 0)
        loop.turn()
    assert seen == [3600, 7200, 10800]
    assert loop.due is None


def test_a_rest_of_time_too_small_to_count_passes_too(loop: VirtualLoop) -> None:
    loop.pass_time(32.01)
    loop.pass_time(7.1e-15)
    assert loop.time() > 32.01
    before = loop.time()
    loop.pass_time(0)
    assert loop.time() == before


def test_a_clock_finds_a_timer_at_its_millisecond(loop: VirtualLoop) -> None:
    clock, seen = LoopClock(loop, 1_000_000), list[int]()
    for milliseconds in (1, 7, 333, 86_400_001):
        clock.call_at(clock.monotonic() + milliseconds / 1000, lambda: seen.append(clock.now_ms()))
    cancel = clock.call_at(clock.monotonic() + 5, lambda: seen.append(0))
    cancel()
    loop.turn()
    while loop.due is not None:
        loop.pass_time(loop.due)
        loop.turn()
    assert seen == [1_000_001, 1_000_007, 1_000_333, 87_400_001]


async def test_it_turns_where_another_loop_runs(loop: VirtualLoop) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        return 42

    task = loop.create_task(answer())
    loop.turn()
    assert task.result() == 42
    assert asyncio.get_running_loop() is not loop


def test_what_a_task_fails_with_unseen_is_kept(loop: VirtualLoop) -> None:
    async def fail() -> None:
        raise KeyError("unseen")

    loop.create_task(fail())
    loop.turn()
    assert isinstance(loop.failure, KeyError)


def test_it_is_buried_with_its_tasks(loop: VirtualLoop) -> None:
    ended: list[str] = []

    async def live() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("live")

    task = loop.create_task(live())
    loop.turn()
    loop.bury()
    assert (ended, task.cancelled(), loop.is_closed()) == (["live"], True, True)
