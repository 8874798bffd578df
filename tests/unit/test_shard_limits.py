"""A shard whose progress is near the limit of its broker."""

from __future__ import annotations

from headrace.runtime.ports import Assigned, Bounds, Fetched, Record
from headrace.runtime.progress import Progress
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Done, Emitted, Failed, Failure

PARTITION = ("orders", 0)
POLICY = RetryPolicy(attempts=3, delay=1.0, factor=2.0, max_delay=60.0, jitter="none", max_age=None)
FAILED = Failed(Failure("ValueError", "no"))
LIMIT = 400
NOW_MS = 1_700_000_000_000


def shard_at(progress: Progress) -> Shard:
    assigned = Assigned(PARTITION, 1, progress.watermark, b"", Bounds(0, 0))
    return Shard(assigned, progress, Terms("app.f", "key", [POLICY], None, progress_limit=LIMIT))


def settle(shard: Shard, before: bytes = b"") -> bytes:
    """Write what there is; the progress written, or the one from `before` if there is nothing to write."""
    if (settlement := shard.settlement()) is None:
        return before
    shard.settled()
    return settlement.progress


def offer(shard: Shard, first: int, events: int) -> None:
    """Events of different keys, at offsets from `first` on."""
    records = [Record(first + n, 0, b"key%d" % n, b"{}", b"") for n in range(events)]
    shard.offer(Fetched(PARTITION, records, first + events), NOW_MS)


def done(offset: int) -> Done:
    return Done([Emitted("out", 0, 0, None, b"%d" % offset, b"", "id")])


def open_offsets(progress: Progress, end: int = 100) -> set[int]:
    """What is not done, of the offsets before `end`."""
    records = [Record(offset, 0, None, b"", b"") for offset in range(progress.watermark, end)]
    return {record.offset for record in progress.deliver(records, end)}


def fail(shard: Shard, chunk: int, index: int) -> None:
    shard.report(chunk, index, [FAILED], now_ms=NOW_MS, draw=lambda: 0.5)


def test_an_owner_that_takes_over_progress_near_its_limit_fetches_what_waits_in_it() -> None:
    before = Progress(0)
    for offset in range(24):
        before.charge(offset, NOW_MS)
    shard = shard_at(Progress.restore(0, before.encode()))
    assert len(settle(shard)) >= 0.75 * LIMIT
    assert shard.full is None, "nothing is held that could end and make room: intake would stop for ever"
    offer(shard, 0, 24)
    assert shard.full is not None


def test_progress_never_outgrows_its_limit_and_what_has_no_room_waits_until_it_has() -> None:
    shard = shard_at(Progress(0))
    offer(shard, 0, 40)
    written = b""
    for number in range(40):
        assert shard.take(number, 1, 1) is not None
        fail(shard, number, 0)
        written = settle(shard, written)
        assert len(written) <= LIMIT
    assert shard.full is not None
    charged = len(Progress.restore(0, written).ledger)
    assert 1 <= charged < 40, "the others are not charged as long as that cannot be written"
    assert shard.waiting == charged
    for number in range(40, 400):
        shard.wake(NOW_MS + 100_000)
        if (chunk := shard.take(number, 1, 1)) is None:
            break
        shard.report(number, 0, [None] * len(chunk.tasks), now_ms=NOW_MS, draw=lambda: 0.5)
        written = settle(shard, written)
        assert len(written) <= LIMIT
    assert (shard.events, shard.progress.watermark, shard.progress.ledger) == (0, 40, {})


def test_what_is_written_as_done_stays_done_however_little_room_there_is() -> None:
    shard = shard_at(Progress(0))
    offer(shard, 0, 40)
    written, left = b"", open_offsets(Progress(0))
    for number in range(20):
        if (chunk := shard.take(number, 2, 1 << 20)) is None:
            break
        fail(shard, number, 0)
        for index, task in enumerate(chunk.tasks[1:], 1):
            shard.report(number, index, [done(task.offset)], now_ms=NOW_MS, draw=lambda: 0.5)
        written = settle(shard, written)
        assert open_offsets(Progress.restore(0, written)) <= left
        left = open_offsets(Progress.restore(0, written))
    assert left < open_offsets(Progress(0))


def test_an_event_that_was_compacted_away_while_it_waited_leaves_the_ledger() -> None:
    progress = Progress(0)
    progress.charge(1, NOW_MS)
    shard = shard_at(Progress.restore(0, progress.encode()))
    shard.offer(Fetched(PARTITION, [Record(0, 0, b"a", b"{}", b""), Record(2, 0, b"a", b"{}", b"")], 3), NOW_MS)
    shard.take(1, 10, 1 << 20)
    shard.report(1, 0, [None, None], now_ms=NOW_MS, draw=lambda: 0.5)
    assert shard.progress.watermark == 3
    assert shard.progress.ledger == {}
