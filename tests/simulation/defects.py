"""Ten planted defects, each of a kind that has been shipped by somebody, and the search for the seed that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import msgspec

from headrace.runtime import dispatch, shard
from headrace.runtime.blame import Blame, blame
from headrace.runtime.lanes import Lanes
from headrace.runtime.ports import Record, Settlement
from headrace.runtime.progress import MAGIC, Progress
from headrace.runtime.shard import Shard
from headrace.runtime.verdict import Verdict, judge
from headrace.sandbox.outcome import Failed, Failure, NotRun, Outcome
from headrace.triggers.brokers.memory import Disk, MemoryLog
from simulation.world import Verdict as Ended
from simulation.world import run

MOST_SEEDS = 2000

Plant = Callable[[], AbstractContextManager[Any]]

_restore = Progress.restore
_encode = Progress.encode
_settle = MemoryLog.settle
_settlement = Shard.settlement
_offer = Lanes.offer


def _off_by_one_at_restart() -> AbstractContextManager[Any]:
    return patch.object(Progress, "restore", lambda watermark, data: _restore(watermark + 1, data))


def _stale_epoch_accepted() -> AbstractContextManager[Any]:
    return patch.object(Disk, "check", lambda *_: None)


def _map_dropped() -> AbstractContextManager[Any]:
    def encode(self: Progress, *arguments: Any) -> bytes:
        _, *rest = msgspec.msgpack.decode(_encode(self, *arguments)[len(MAGIC) :])
        return MAGIC + msgspec.msgpack.encode(([], *rest))

    return patch.object(Progress, "encode", encode)


def _progress_committed_before_publish() -> AbstractContextManager[Any]:
    async def settle(self: MemoryLog, settlement: Settlement) -> None:
        await _settle(self, replace(settlement, appends=()))
        if settlement.appends:
            await self.append(settlement.appends)

    return patch.object(MemoryLog, "settle", settle)


def _attempts_kept_in_memory_only() -> AbstractContextManager[Any]:
    def encode(self: Progress, *arguments: Any) -> bytes:
        flat, _, *rest = msgspec.msgpack.decode(_encode(self, *arguments)[len(MAGIC) :])
        return MAGIC + msgspec.msgpack.encode((flat, [], *rest))

    return patch.object(Progress, "encode", encode)


def _retry_before_the_ledger_is_durable() -> AbstractContextManager[Any]:
    def settlement(self: Shard) -> Settlement | None:
        if (taken := _settlement(self)) is not None:
            self._waits.settled()
        return taken

    return patch.object(Shard, "settlement", settlement)


def _key_moved_to_another_worker_while_in_flight() -> AbstractContextManager[Any]:
    def offer(self: Lanes, records: Iterable[Record]) -> None:
        _offer(self, records)
        for lane in self._lanes.values():
            if lane.flying and lane.waiting and not lane.held and lane not in self._ready:
                self._ready.append(lane)

    return patch.object(Lanes, "offer", offer)


def _not_run_counted() -> AbstractContextManager[Any]:
    def strict(outcome: Outcome, *arguments: Any, **options: Any) -> Verdict:
        counted = Failed(Failure("NotRun", "not run")) if isinstance(outcome, NotRun) else outcome
        return judge(counted, *arguments, **options)

    return patch.object(shard, "judge", strict)


def _outcomes_of_a_lane_settled_out_of_order() -> AbstractContextManager[Any]:
    def settlement(self: Shard) -> Settlement | None:
        taken = _settlement(self)
        return taken and replace(taken, appends=list(taken.appends)[::-1])

    return patch.object(Shard, "settlement", settlement)


def _crash_charged_to_a_neighbour() -> AbstractContextManager[Any]:
    def wrong(*arguments: Any) -> Blame:
        right = blame(*arguments)
        return Blame({(chunk, index + 1): outcome for (chunk, index), outcome in right.guilty.items()}, right.suspects)

    return patch.object(dispatch, "blame", wrong)


DEFECTS: dict[str, Plant] = {
    "off by one at restart": _off_by_one_at_restart,
    "stale epoch accepted": _stale_epoch_accepted,
    "map dropped": _map_dropped,
    "progress committed before publish": _progress_committed_before_publish,
    "attempts kept in memory only": _attempts_kept_in_memory_only,
    "retry before the ledger is durable": _retry_before_the_ledger_is_durable,
    "key moved to another worker while in flight": _key_moved_to_another_worker_while_in_flight,
    "NotRun counted": _not_run_counted,
    "outcomes of a lane settled out of order": _outcomes_of_a_lane_settled_out_of_order,
    "crash charged to a neighbour": _crash_charged_to_a_neighbour,
}


def find(plant: Plant, seeds: Sequence[int] = range(MOST_SEEDS)) -> Ended | None:
    """How the first seed ended in which a planted defect breaks a promise that is kept without it."""
    for seed in seeds:
        with plant():
            ended = run(seed)
        if ended.broken is not None and run(seed).broken is None:
            return ended
    return None
