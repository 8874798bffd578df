"""Defects that others with key-ordered concurrency over offsets have had, each as a test of ours.

The numbers are issues of Confluent's Parallel Consumer, the Java library with the longest history of them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.clock import SystemClock
from headrace.runtime.hooks import hooks_of
from headrace.runtime.ports import Assigned, Bounds, Features, Fetched, Record, Settlement
from headrace.runtime.progress import Progress
from headrace.runtime.shard import MOST_HELD_EVENTS, Shard
from headrace.runtime.subscription import Subscription
from headrace.runtime.terms import Terms
from headrace.sandbox.manifest import FunctionSpec, Grants, RetryPolicy
from headrace.sandbox.outcome import Failed, Failure, NotRun

PARTITION = ("orders", 0)
POLICY = RetryPolicy(attempts=3, delay=1.0, factor=1.0, max_delay=1.0, jitter="none", max_age=None)
TERMS = Terms("app.f", "key", [POLICY], None)
FAILURE = Failure("ValueError", "no")

offsets = st.sets(st.integers(0, 60))


def records(numbers: Sequence[int]) -> list[Record]:
    return [Record(number, 0, b"k%d" % number, b"{}", b"") for number in numbers]


def shard_of(progress: Progress | None = None) -> Shard:
    return Shard(Assigned(PARTITION, 1, 0, b"", Bounds(0, 0)), progress or Progress(0), TERMS)


def settle(shard: Shard) -> Settlement | None:
    settlement = shard.settlement()
    if settlement is not None:
        shard.settled()
    return settlement


@given(done=offsets, count=st.integers(1, 61))
def test_62_a_restart_neither_skips_nor_repeats_an_event(done: set[int], count: int) -> None:
    progress = Progress(0)
    progress.deliver(records(range(count)), count)
    for offset in sorted(done):
        if offset < count:
            progress.finish(offset)
    reborn = Progress.restore(progress.watermark, progress.encode())
    again = reborn.deliver(records(range(reborn.position, count)), count)
    assert [record.offset for record in again] == [offset for offset in range(count) if offset not in done]


@given(count=st.integers(1, 40), reported=st.integers(0, 40))
def test_547_what_a_lost_worker_had_is_handed_out_again_and_the_count_comes_back_to_nought(
    count: int, reported: int
) -> None:
    shard = shard_of()
    shard.offer(Fetched(PARTITION, records(range(count)), count), 0)
    chunk = shard.take(1, 100, 1 << 20)
    assert chunk is not None
    reported = min(reported, count - 1)
    if reported:
        shard.report(1, 0, [None] * reported, now_ms=0, draw=lambda: 0.0)
    shard.lost(1, {}, (), now_ms=0, draw=lambda: 0.0)
    assert not shard.in_flight
    again = shard.take(2, 100, 1 << 20)
    assert again is not None
    assert [task.offset for task in again.tasks] == list(range(reported, count))
    shard.report(2, 0, [None] * len(again.tasks), now_ms=0, draw=lambda: 0.0)
    assert (shard.events, shard.bytes, shard.in_flight) == (0, 0, False)


@given(watermark=st.integers(0, 2**40), holes=offsets)
def test_546_progress_without_progress_reads_back_at_its_own_base(watermark: int, holes: set[int]) -> None:
    progress = Progress(watermark)
    progress.deliver([Record(watermark + n, 0, None, b"", b"") for n in range(61)], watermark + 61)
    for hole in holes - {0}:
        progress.finish(watermark + hole)
    assert progress.watermark == watermark
    once = Progress.restore(watermark, progress.encode())
    twice = Progress.restore(once.watermark, once.encode())
    assert (twice.watermark, twice.done_beyond, twice.encode()) == (watermark, len(holes - {0}), progress.encode())


def test_909_875_a_new_owner_handles_every_record_whatever_an_old_one_still_holds() -> None:
    old = shard_of()
    old.offer(Fetched(PARTITION, records(range(5)), 5), 0)
    old.take(1, 100, 1 << 20)
    new = shard_of()
    new.offer(Fetched(PARTITION, records(range(5)), 5), 0)
    old.report(1, 0, [None] * 5, now_ms=0, draw=lambda: 0.0)
    chunk = new.take(2, 100, 1 << 20)
    assert chunk is not None
    assert [task.offset for task in chunk.tasks] == list(range(5))


@given(st.lists(st.sampled_from(["report", "settle"]), max_size=60), st.randoms(use_true_random=False))
def test_894_watermark_and_map_of_a_settlement_are_of_one_moment(steps: list[str], dice: random.Random) -> None:
    shard = shard_of()
    shard.offer(Fetched(PARTITION, records(range(30)), 30), 0)
    shard.take(1, 100, 1 << 20)
    still_open, done = list(range(30)), set[int]()
    for step in steps:
        if step == "report" and still_open:
            index = still_open.pop(dice.randrange(len(still_open)))
            shard.report(1, index, [None], now_ms=0, draw=lambda: 0.0)
            done.add(index)
        elif step == "settle" and (settlement := settle(shard)) is not None:
            found = Progress.restore(settlement.watermark, settlement.progress)
            fresh = found.deliver(records(range(found.position, 30)), 30)
            assert {record.offset for record in fresh} == set(range(30)) - done


def test_832_what_waits_to_be_tried_again_is_bounded() -> None:
    shard = shard_of()
    number = chunk = 0
    while shard.full is None:
        shard.offer(Fetched(PARTITION, records(range(number, number + 50)), number + 50), 0)
        number += 50
        chunk += 1
        shard.take(chunk, 100, 1 << 20)
        shard.report(chunk, 0, [Failed(FAILURE)] * 50, now_ms=0, draw=lambda: 0.0)
    assert shard.events <= MOST_HELD_EVENTS + 50


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_409_gaps_in_the_log_never_hold_the_watermark_back(gaps: list[int]) -> None:
    numbers = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    shard = shard_of()
    shard.offer(Fetched(PARTITION, records(numbers), numbers[-1] + 3), 0)
    shard.take(1, 100, 1 << 20)
    shard.report(1, 0, [None] * len(numbers), now_ms=0, draw=lambda: 0.0)
    settlement = settle(shard)
    assert settlement is not None
    assert settlement.watermark == numbers[-1] + 3
    assert Progress.restore(settlement.watermark, settlement.progress).done_beyond == 0


# -- a subscription with a broker whose writes hang -------------------------------------------------------------------


class HangingStore:
    """A broker whose settlements wait for `gate`; what was written is in `written`."""

    features = Features(transactions=True, delayed=False, progress_limit=None, seek_by_time=True)
    cluster = "test"

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.written: list[Settlement] = []
        self.left = False
        self.fails = 0
        self.is_settled = True

    async def settle(self, settlement: Settlement) -> None:
        self.begun.set()
        await self.gate.wait()
        if self.fails:
            self.fails -= 1
            raise BrokerUnavailable("not now")
        self.written.append(settlement)

    async def join(self, _group: str, _topics: Sequence[str], rebalance: Any, **_: Any) -> HangingStore:
        await rebalance.assigned([Assigned(PARTITION, 1, 0, b"", Bounds(0, 0))])
        return self

    async def poll(self, _limit: int) -> list[Fetched]:
        await asyncio.Event().wait()
        return []

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object, **__: object) -> None: ...

    async def leave(self) -> None:
        self.left = True


class NoWorkers:
    """A pool that has none."""

    workers: Sequence[Any] = ()
    starting = 0
    problem = None

    def demand(self) -> None: ...

    async def open(self) -> None: ...

    async def close(self, _grace: float) -> None: ...


GRANTS = Grants(1 << 30, None, "none", False, {}, [], [], False, 0, False)
SPEC = FunctionSpec(
    name="f", topics=["orders"], emits={}, types=[], file="f.py", line=1, doc="", is_async=False, retry=[POLICY],
    timeout=1.0, order="key", concurrency=1, workers=(0, 1), idle=1.0, unmatched="skip", guarantee="at-least-once",
    dead_letter=None, discard="test", max_hops=16, start=None, grants=GRANTS, explicit=[], schema=None,
)  # fmt: skip


@pytest.fixture
async def subscription() -> Subscription:
    store: Any = HangingStore()
    served = Subscription(SPEC, TERMS, store, SystemClock(), hooks_of(), dice=random.Random(1))
    served.dispatch.pool = NoWorkers()  # type: ignore[assignment]
    await served.open()
    return served


async def test_857_a_revoke_waits_for_the_settlement_under_way_and_ends_with_it(subscription: Subscription) -> None:
    store: Any = subscription._store
    await store.begun.wait()
    revoke = asyncio.create_task(subscription.revoked([PARTITION]))
    await asyncio.sleep(0)
    assert not revoke.done()
    store.gate.set()
    async with asyncio.timeout(60):
        await revoke
    assert subscription.watermarks == {}
    assert not Progress.restore(0, store.written[-1].progress).custody.alive, "the last one says that we left in order"


async def test_826_what_was_done_is_settled_before_the_member_leaves(subscription: Subscription) -> None:
    store: Any = subscription._store
    shard = subscription._shards[PARTITION]
    shard.offer(Fetched(PARTITION, records(range(3)), 3), 0)
    shard.take(1, 100, 1 << 20)
    shard.report(1, 0, [None, None, NotRun()], now_ms=0, draw=lambda: 0.0)
    store.fails = 2
    store.gate.set()
    async with asyncio.timeout(60):
        await subscription.close(5.0)
    assert store.written[-1].watermark == 2
    assert store.left


async def test_a_function_whose_partitions_are_being_handed_out_anew_is_not_said_to_have_nothing_to_do(
    subscription: Subscription,
) -> None:
    store: Any = subscription._store
    store.gate.set()
    shard = subscription._shards[PARTITION]
    shard.offer(Fetched(PARTITION, records(range(3)), 3), 0)
    assert not subscription.quiet
    store.is_settled = False
    await subscription.revoked([PARTITION])
    assert not subscription.quiet
    store.is_settled = True
    assert subscription.quiet, "they went to another"
