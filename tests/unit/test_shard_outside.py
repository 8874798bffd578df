"""A shard in whose progress there is no room for an attempt that failed: its lane must keep its order, and go on."""

from __future__ import annotations

from headrace.runtime.ports import Assigned, Bounds, Fetched, Record
from headrace.runtime.progress import Progress
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Crashed, Failed, Failure, NotRun

PARTITION = ("orders", 0)
POLICY = RetryPolicy(attempts=3, delay=1.0, factor=2.0, max_delay=60.0, jitter="none", max_age=None)
FAILURE = Failure("ValueError", "no")
NO_ROOM = 90  # bytes: but for the event at the watermark
NOW_MS = 1_700_000_000_000


def shard_of(order: str, *keys: bytes) -> Shard:
    terms = Terms("app.f", order, [POLICY], None, progress_limit=NO_ROOM)
    shard = Shard(Assigned(PARTITION, 1, 0, b"", Bounds(0, 0)), Progress(0), terms)
    shard.offer(Fetched(PARTITION, [Record(n, 0, key, b"{}", b"") for n, key in enumerate(keys)], len(keys)), NOW_MS)
    settle(shard)
    return shard


def settle(shard: Shard) -> None:
    """Write what there is, until there is nothing left."""
    while shard.settlement() is not None:
        shard.settled()


def offsets(shard: Shard, number: int) -> list[int]:
    chunk = shard.take(number, 100, 1 << 20) or shard.take_alone(number)
    return [task.offset for task in chunk.tasks] if chunk else []


def test_what_was_given_back_stays_behind_the_failure_before_it_in_its_lane() -> None:
    shard = shard_of("key", b"a", b"b", b"b")
    assert offsets(shard, 1) == [0, 1, 2]
    shard.report(1, 1, [Failed(FAILURE), NotRun()], now_ms=NOW_MS, draw=lambda: 0.5)
    settle(shard)
    shard.report(1, 0, [None], now_ms=NOW_MS, draw=lambda: 0.5)
    settle(shard)
    shard.wake(NOW_MS + 100_000)
    assert offsets(shard, 2) == [1, 2]


def test_what_a_crash_behind_it_gave_back_is_run_again_though_the_crash_cannot_be_charged_yet() -> None:
    shard = shard_of("partition", b"a", b"b", b"c")
    assert offsets(shard, 1) == [0, 1, 2]
    shard.lost(1, {1: Crashed(FAILURE)}, (), now_ms=NOW_MS, draw=lambda: 0.5)  # 0 had ended, and was not reported
    settle(shard)
    shard.wake(NOW_MS + 100_000)
    assert offsets(shard, 2)[:1] == [0], "it is the first that is not done: nothing else can make room"
