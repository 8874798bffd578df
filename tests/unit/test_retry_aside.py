"""Events that wait aside, in cases which only a simulation comes upon."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.functions.names import retry_topic_of
from headrace.runtime.ports import Append, Assigned, Bounds, Fetched, Partition, Record, Settlement
from headrace.runtime.progress import Progress
from headrace.runtime.retryfeed import RetryFeed
from headrace.runtime.retrytopic import RetryTopics
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.headers import unpack
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Failed, Failure
from headrace.triggers.brokers.memory import Disk, MemoryLog, VirtualClock

PARTITION = ("orders", 0)
POLICY = RetryPolicy(attempts=4, delay=1.0, factor=2.0, max_delay=60.0, jitter="none", max_age=None)
RETRIES = RetryTopics("app", "f", 1, "code")
FAILURE = Failure("ValueError", "no")
SECOND = retry_topic_of("app", "f", "1s")


def terms(order: str, *, aside: bool) -> Terms:
    return Terms("app.f", order, [POLICY], None, progress_limit=4096, retries=RETRIES, aside=aside)


def shard_of(order: str, progress: Progress, *, aside: bool) -> Shard:
    return Shard(Assigned(PARTITION, 1, 0, b"", Bounds(0, 0)), progress, terms(order, aside=aside))


def offer(shard: Shard, *offsets: int) -> None:
    shard.offer(Fetched(PARTITION, [Record(at, 0, b"k", b"{}", b"") for at in offsets], offsets[-1] + 1), 0)


def test_an_event_under_which_its_owner_died_runs_alone_in_the_retry_topic_too() -> None:
    progress = Progress(0)
    progress.charge(0, 0, alone=True)  # as a new owner does that finds the start of 0 written down
    shard = shard_of("none", progress, aside=True)
    offer(shard, 0)
    assert shard.take_alone(1) is not None
    shard.report(1, 0, [Failed(FAILURE)], now_ms=0, draw=lambda: 0.5)
    settlement = shard.settlement()
    assert settlement is not None
    (append,) = settlement.appends
    headers = dict(unpack(append.headers))
    assert (headers["headrace-attempt"], headers.get("headrace-alone")) == (b"3", b"1")


def test_what_waits_in_place_from_before_the_order_was_changed_lets_those_before_it_run() -> None:
    progress = Progress(0)
    progress.charge(1, 9_000)  # without order 1 may fail while 0, of the same key, has not ended
    shard = shard_of("key", progress, aside=False)
    offer(shard, 0)
    assert shard.take(1, 10, 1 << 20) is not None
    offer(shard, 1)
    shard.report(1, 0, [None], now_ms=0, draw=lambda: 0.5)
    assert not shard.ready, "1 is not due yet"
    shard.wake(9_000)
    assert shard.ready


def test_what_waits_in_place_from_before_the_order_was_changed_is_not_started_early() -> None:
    progress = Progress(0)
    progress.charge(0, 9_000)
    progress.charge(1, 1_000)
    shard = shard_of("key", progress, aside=False)
    offer(shard, 0, 1)
    shard.wake(1_000)
    assert not shard.ready, "0 is not due yet, and 1 is behind it"
    shard.wake(9_000)
    assert shard.ready


class Follower:
    """A member of which only its topics are known."""

    def __init__(self) -> None:
        self.topics: Sequence[str] = ()

    async def poll(self, limit: int) -> Sequence[Fetched]:
        raise AssertionError(limit)

    def seek(self, partition: Partition, offset: int) -> None:
        raise AssertionError(partition, offset)

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        raise AssertionError(partitions, paused)

    async def subscribe(self, topics: Sequence[str]) -> None:
        self.topics = topics

    async def leave(self) -> None:
        raise AssertionError


async def test_a_retry_topic_that_another_member_made_is_found_and_followed_after_a_while() -> None:
    disk, clock = Disk(), VirtualClock()
    maker, other = (
        RetryFeed(terms("none", aside=True), MemoryLog(disk, clock, progress_limit=4096), clock) for _ in range(2)
    )
    assert await other.find() == []
    append = Append(SECOND, 0, 0, None, None, b"")
    await maker.prepare(Settlement("app.f", PARTITION, 1, 1, b"", [append]))
    follower = Follower()
    await other.follow(follower, ["orders"])
    assert follower.topics == (), "it does not look each time"
    clock.advance(60.0)
    await other.follow(follower, ["orders"])
    assert follower.topics == ["orders", SECOND]
