"""Planted misreadings: of a rule, an age, a delay, a generation, a gap, a limit, a rate, a leftover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from headrace.runtime import shard, verdict
from headrace.runtime.leftovers import Leftovers
from headrace.runtime.ports import Assigned, Fetched, Record
from headrace.runtime.progress import Progress
from headrace.runtime.rate import Rate
from headrace.runtime.shard import Shard
from headrace.runtime.subscription import Subscription
from headrace.runtime.verdict import Verdict, judge
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Failed, Outcome, Postponed
from headrace.sandbox.wire import Chunk

_take = Shard.take
_take_leftover = Leftovers.take


def _judged(misread: Callable[[Outcome], Outcome]) -> AbstractContextManager[Any]:
    def wrong(outcome: Outcome, *arguments: Any, **options: Any) -> Verdict:
        return judge(misread(outcome), *arguments, **options)

    return patch.object(shard, "judge", wrong)


def _another_rule_applied() -> AbstractContextManager[Any]:
    return _judged(lambda one: replace(one, rule=-1) if isinstance(one, Failed) and one.rule is not None else one)


def _age_forgotten() -> AbstractContextManager[Any]:
    def young(policy: RetryPolicy, age_ms: int) -> bool:
        _ = policy, age_ms
        return False

    return patch.object(verdict, "_too_old", young)


def _postponed_to_now() -> AbstractContextManager[Any]:
    return _judged(lambda one: replace(one, seconds=one.seconds / 2) if isinstance(one, Postponed) else one)


def _generation_dropped() -> AbstractContextManager[Any]:
    def take(self: Shard, chunk: int, limit: int, max_bytes: int, *, generation: int = 0) -> Chunk | None:
        _ = generation
        return _take(self, chunk, limit, max_bytes)

    return patch.object(Shard, "take", take)


def _gap_not_passed() -> AbstractContextManager[Any]:
    def pass_gaps(self: Progress, records: Sequence[Record], position: int) -> None:
        _ = self, records, position

    return patch.object(Progress, "_pass_gaps", pass_gaps)


def _limit_never_lifted() -> AbstractContextManager[Any]:
    throttle = Subscription._throttle

    def once(self: Subscription) -> None:
        if not self._throttled:
            throttle(self)

    return patch.object(Subscription, "_throttle", once)


def _limit_not_kept() -> AbstractContextManager[Any]:
    return patch.object(Subscription, "_throttle", lambda _self: None)


def _leftover_cut() -> AbstractContextManager[Any]:
    def take(self: Leftovers, assigned: Assigned) -> Fetched | None:
        left = _take_leftover(self, assigned)
        return None if left is None else Fetched(left.partition, left.records[:-1], left.next)

    return patch.object(Leftovers, "take", take)


def _rate_not_kept() -> AbstractContextManager[Any]:
    return patch.object(Rate, "allowed", lambda self, _now: int(self.burst))


MISREADINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "another rule applied": _another_rule_applied,
    "age forgotten": _age_forgotten,
    "postponed for half the time": _postponed_to_now,
    "generation dropped": _generation_dropped,
    "gap not passed": _gap_not_passed,
    "limit never lifted": _limit_never_lifted,
    "limit not kept": _limit_not_kept,
    "rate not kept": _rate_not_kept,
    "leftover cut": _leftover_cut,
}
