"""A shard from delivery to settlement."""

from __future__ import annotations

from headrace.runtime.deadletter import Sender
from headrace.runtime.ports import Assigned, Bounds, Fetched, Record, Settlement
from headrace.runtime.progress import Progress
from headrace.runtime.shard import MOST_HELD_EVENTS, Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.headers import unpack
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Crashed, Done, Emitted, Failed, Failure, NotRun, Outcome
from headrace.sandbox.wire import Origin

PARTITION = ("orders", 0)
POLICY = RetryPolicy(attempts=3, delay=1.0, factor=2.0, max_delay=60.0, jitter="none", max_age=None)
SENDER = Sender("f", "app.f.dlt", 1, "code")
FAILURE = Failure("ValueError", "no")


def shard_at(watermark: int = 0, progress: bytes = b"", *, sender: Sender | None = SENDER) -> Shard:
    assigned = Assigned(PARTITION, 1, watermark, progress, Bounds(0, 0))
    shard = Shard(assigned, Progress.restore(watermark, progress), Terms("app.f", "key", [POLICY], sender))
    settle(shard)
    return shard


def settle(shard: Shard) -> Settlement:
    """Write what there is; the settlement."""
    settlement = shard.settlement()
    assert settlement is not None
    shard.settled()
    return settlement


def offer(shard: Shard, *keys: bytes | None, now_ms: int = 0) -> None:
    at = shard.progress.position
    records = [Record(at + i, 0, key, b"{}", b"") for i, key in enumerate(keys)]
    shard.offer(Fetched(PARTITION, records, at + len(keys)), now_ms)


def report(shard: Shard, chunk: int, *outcomes: Outcome | None, first: int = 0, now_ms: int = 0) -> None:
    shard.report(chunk, first, outcomes, now_ms=now_ms, draw=lambda: 0.5)


def offsets(shard: Shard, number: int, limit: int = 100) -> list[int]:
    chunk = shard.take(number, limit, 1 << 20)
    return [task.offset for task in chunk.tasks] if chunk else []


def emitted(value: bytes) -> Done:
    return Done([Emitted("out", 0, 0, None, value, b"", "id")])


def test_a_settlement_carries_the_emits_and_the_progress_of_the_same_outcomes() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b", b"c")
    offsets(shard, 1)
    report(shard, 1, emitted(b"0"), emitted(b"1"))
    settlement = shard.settlement()
    assert settlement is not None
    assert settlement.watermark == 2
    assert [append.value for append in settlement.appends] == [b"0", b"1"]


def test_one_settlement_is_under_way_at_a_time_and_the_next_takes_all_since() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b", b"c")
    offsets(shard, 1)
    report(shard, 1, None)
    assert shard.settlement() is not None
    report(shard, 1, None, first=1)
    report(shard, 1, None, first=2)
    assert shard.settlement() is None
    shard.settled()
    following = shard.settlement()
    assert following is not None
    assert following.watermark == 3


def test_a_failed_event_is_not_handed_out_before_its_charge_is_durable_and_its_time_has_come() -> None:
    shard = shard_at()
    offer(shard, b"a")
    offsets(shard, 1)
    report(shard, 1, Failed(FAILURE), now_ms=0)
    assert shard.wake(5000) is None
    assert not shard.ready, "due, but not durable"
    settlement = shard.settlement()
    assert settlement is not None
    assert Progress.restore(settlement.watermark, settlement.progress).failures(0) == 1
    shard.settled()
    assert shard.wake(999) == 1000
    assert not shard.ready, "durable, but not due"
    assert shard.wake(1000) is None
    chunk = shard.take(2, 1, 1 << 20)
    assert chunk is not None
    assert (chunk.tasks[0].offset, chunk.tasks[0].attempt, chunk.tasks[0].epoch) == (0, 2, 1)


def test_other_keys_go_on_while_one_waits_and_its_later_events_wait_with_it() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b", b"a")
    assert offsets(shard, 1) == [0, 2, 1]
    report(shard, 1, Failed(FAILURE), NotRun(), None)
    offer(shard, b"a", b"c")
    assert offsets(shard, 2) == [4]


def test_exhausted_and_rejected_events_are_dead_lettered_in_the_settlement_that_passes_them() -> None:
    shard = shard_at()
    offer(shard, b"a")
    offsets(shard, 1)
    report(shard, 1, Failed(FAILURE, rule=None))
    settlement = shard.settlement()
    assert settlement is not None
    assert (settlement.watermark, [append.topic for append in settlement.appends]) == (1, ["app.f.dlt"])


def test_a_discarding_function_passes_them_without_a_record() -> None:
    shard = shard_at(sender=None)
    offer(shard, b"a")
    offsets(shard, 1)
    report(shard, 1, Failed(FAILURE, rule=None))
    settlement = shard.settlement()
    assert settlement is not None
    assert (settlement.watermark, settlement.appends) == (1, [])


def test_when_a_worker_dies_the_guilty_event_pays_and_the_rest_goes_back_in_order() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b", b"c", b"d")
    offsets(shard, 1)
    report(shard, 1, None)
    shard.lost(1, {1: Crashed(FAILURE)}, (), now_ms=0, draw=lambda: 0.5)
    assert offsets(shard, 2) == [2, 3]
    assert shard.progress.failures(1) == 1
    assert shard.progress.failures(2) == 0


def test_attempts_survive_a_restart_and_so_does_the_wait() -> None:
    first = shard_at()
    offer(first, b"a", b"b")
    offsets(first, 1)
    report(first, 1, Failed(FAILURE), None, now_ms=0)
    settlement = first.settlement()
    assert settlement is not None

    second = shard_at(settlement.watermark, settlement.progress)
    offer(second, b"a", b"b", now_ms=500)
    assert not second.ready, "0 waits until 1000 ms, 1 is done"
    second.wake(1000)
    chunk = second.take(1, 10, 1 << 20)
    assert chunk is not None
    assert [(task.offset, task.attempt) for task in chunk.tasks] == [(0, 2)]


def test_a_new_group_settles_where_it_starts_before_anything_else() -> None:
    shard = Shard(Assigned(PARTITION, 1, None, b"", Bounds(3, 9)), Progress(9), Terms("app.f", "key", [POLICY], SENDER))
    settlement = shard.settlement()
    assert settlement is not None
    assert settlement.watermark == 9


def reborn(settlement: Settlement) -> Shard:
    """The shard of the next owner, which finds what that settlement wrote."""
    return shard_at(settlement.watermark, settlement.progress)


def test_suspects_run_alone_and_the_innocent_one_is_never_charged() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b", b"c")
    offsets(shard, 1)
    shard.lost(1, {}, {0, 1}, now_ms=0, draw=lambda: 0.5)
    assert offsets(shard, 2) == [2], "the others go on together"
    first, second = shard.take_alone(3), shard.take_alone(4)
    assert first is not None
    assert second is not None
    assert [len(first.tasks), len(second.tasks), first.tasks[0].attempt] == [1, 1, 1]
    assert not shard.ready_alone


def test_an_event_charged_with_a_crash_always_runs_alone_also_after_a_restart() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b")
    offsets(shard, 1)
    shard.lost(1, {0: Crashed(FAILURE)}, (), now_ms=0, draw=lambda: 0.5)
    settlement = settle(shard)
    shard.wake(10_000)
    assert offsets(shard, 2) == [1]
    assert shard.take_alone(3) is not None

    following = reborn(settlement)
    offer(following, b"a", b"b", now_ms=10_000)
    assert offsets(following, 1) == [1]
    chunk = following.take_alone(2)
    assert chunk is not None
    assert (chunk.tasks[0].offset, chunk.tasks[0].attempt) == (0, 2)


def test_outcomes_may_come_in_any_order_between_lanes() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b", b"c")
    offsets(shard, 1)
    report(shard, 1, None, first=2)
    assert settle(shard).watermark == 0
    report(shard, 1, None, None, first=0)
    assert settle(shard).watermark == 3
    assert not shard.in_flight


def die_until_careful() -> Shard:
    shard = shard_at()
    offer(shard, b"a", b"b")
    for _ in range(2):
        shard = shard_at(0, shard.progress.encode())
        offer(shard, b"a", b"b")
    return shard


def test_after_two_unclean_deaths_events_run_one_at_a_time_each_start_written_first() -> None:
    shard = die_until_careful()
    assert shard.careful
    assert shard.take(1, 10, 1 << 20) is None
    settlement = settle(shard)
    assert Progress.restore(0, settlement.progress).custody.started == 0
    assert offsets(shard, 2) == [0]
    assert not shard.ready, "one at a time"
    report(shard, 2, None)
    assert settle(shard).watermark == 1
    assert not shard.careful, "the watermark moved"


def test_a_death_with_a_start_written_down_is_charged_to_that_event_until_it_is_set_aside() -> None:
    shard = die_until_careful()
    for failures in (1, 2):
        assert shard.take(1, 10, 1 << 20) is None
        shard = reborn(settle(shard))
        offer(shard, b"a", b"b")
        assert shard.progress.failures(0) == failures
    assert shard.take(1, 10, 1 << 20) is None
    shard = reborn(settle(shard))
    offer(shard, b"a", b"b")
    shard.wake(0)
    settlement = settle(shard)
    assert settlement.watermark == 1
    (letter,) = settlement.appends
    assert ("headrace-error-type", b"runtime-died") in unpack(letter.headers)


def test_an_owner_that_left_in_order_makes_nobody_careful() -> None:
    shard = shard_at()
    for _ in range(4):
        shard.leave()
        shard = reborn(settle(shard))
    assert not shard.careful


def test_intake_stops_when_too_much_waits_behind_an_event_that_is_tried_again() -> None:
    shard = shard_at()
    offer(shard, b"a")
    offsets(shard, 1)
    report(shard, 1, Failed(FAILURE))
    offer(shard, *[b"a"] * (MOST_HELD_EVENTS - 2))
    assert shard.full is None
    offer(shard, b"a", b"b")
    assert shard.full is not None


def test_intake_stops_when_progress_takes_three_quarters_of_its_limit() -> None:
    assigned = Assigned(PARTITION, 1, 0, b"", Bounds(0, 0))
    shard = Shard(assigned, Progress(0), Terms("app.f", "key", [POLICY], SENDER, progress_limit=160))
    settle(shard)
    offer(shard, *[b"k%d" % n for n in range(60)])
    offsets(shard, 1)
    for index in range(1, 60, 2):
        report(shard, 1, None, first=index)
    while (settlement := shard.settlement()) is not None:
        assert len(settlement.progress) <= 160
        shard.settled()
    assert shard.full is not None


def test_a_crash_that_ends_an_event_settles_after_the_events_before_it_in_its_lane() -> None:
    shard = shard_at()
    offer(shard, b"a")
    for now_ms, chunk in ((0, 1), (10_000, 2)):
        shard.wake(now_ms)
        offsets(shard, chunk)
        report(shard, chunk, Failed(FAILURE), now_ms=now_ms)
        settle(shard)
    offer(shard, b"b", b"b")
    assert offsets(shard, 3) == [1, 2]
    shard.progress.charge(2, 1)
    shard.progress.charge(2, 1)
    shard.lost(3, {1: Crashed(FAILURE)}, (), now_ms=0, draw=lambda: 0.5)  # the third of three attempts
    assert settle(shard).appends == [], "event 1 had finished unreported, and has to run again first"
    assert offsets(shard, 4) == [1]
    report(shard, 4, emitted(b"1"))
    shard.wake(0)
    assert [append.topic for append in settle(shard).appends] == ["out", "app.f.dlt"]


def test_an_event_that_waits_for_its_next_attempt_is_hastened_and_no_other() -> None:
    shard = shard_at()
    offer(shard, b"a", b"b")
    offsets(shard, 1)
    report(shard, 1, Failed(FAILURE), Failed(FAILURE))
    settle(shard)
    assert shard.wake(10) == 1000
    assert not shard.hasten(Origin(*PARTITION, 7), 10)
    assert shard.hasten(Origin(*PARTITION, 1), 10)
    assert shard.wake(10) == 1000
    assert offsets(shard, 2) == [1]
    assert not shard.hasten(Origin(*PARTITION, 1), 20)


def test_an_event_is_hastened_whose_charge_is_not_durable_yet_but_not_before_that() -> None:
    shard = shard_at()
    offer(shard, b"a")
    offsets(shard, 1)
    report(shard, 1, Failed(FAILURE))
    assert shard.hasten(Origin(*PARTITION, 0), 10)
    assert shard.settlement() is not None
    assert shard.hasten(Origin(*PARTITION, 0), 10)
    assert shard.wake(10) is None
    assert offsets(shard, 2) == []
    shard.settled()
    assert shard.wake(10) is None
    assert offsets(shard, 3) == [0]
