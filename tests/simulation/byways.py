"""Planted defects of retry topics: of what is written there, what is read from there, and when. Each must be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace as changed

from headrace.runtime import retrytopic
from headrace.runtime.arrivals import Deferrals
from headrace.runtime.lanes import Lane
from headrace.runtime.ports import Append, Member, Partition, Record
from headrace.runtime.retryfeed import RetryFeed
from headrace.runtime.retrytopic import Deferred, RetryTopics
from headrace.runtime.shard import Shard
from headrace.runtime.tiers import TIERS, Tier
from headrace.sandbox.wire import Origin

_defer = RetryTopics.defer
_read = RetryTopics.read
_due = Deferrals.due
_promote = Shard._promote
_end = Shard._end


def _hop_counted_as_an_attempt() -> AbstractContextManager[Any]:
    def defer(self: RetryTopics, event: Deferred, now_ms: int) -> Append:
        hop = event.hop_ms and event.not_before_ms > now_ms
        return _defer(self, replace(event, failures=event.failures + 1) if hop else event, now_ms)

    return patch.object(RetryTopics, "defer", defer)


def _delivered_early() -> AbstractContextManager[Any]:
    def due(self: Deferrals, now_ms: int) -> Iterator[Deferred]:
        return (replace(event, not_before_ms=min(event.not_before_ms, now_ms)) for event in _due(self, now_ms + 50))

    return patch.object(Deferrals, "due", due)


def _origin_lost() -> AbstractContextManager[Any]:
    def origin(self: Deferrals, offset: int) -> Origin:
        return Origin(*self._partition, offset)

    return patch.object(Deferrals, "origin", origin)


def _deferred_without_ending() -> AbstractContextManager[Any]:
    """As if only what left without an append were done: the next owner defers it again."""

    def end(self: Shard, lane: Lane, record: Record) -> None:
        appends = self._outbox._appends
        if appends and ".retry." in appends[-1].topic:
            with patch.object(self.progress, "finish", lambda _offset: None):
                _end(self, lane, record)
        else:
            _end(self, lane, record)

    return patch.object(Shard, "_end", end)


def _lost_on_a_hop() -> AbstractContextManager[Any]:
    def promote(self: Shard, now_ms: int) -> None:
        appended = len(self._outbox)
        _promote(self, now_ms)
        del self._outbox._appends[appended:]

    return patch.object(Shard, "_promote", promote)


def _attempts_begin_anew_in_each_topic() -> AbstractContextManager[Any]:
    def read(self: RetryTopics, record: Record, partition: Partition) -> Deferred:
        return replace(_read(self, record, partition), failures=0)

    return patch.object(RetryTopics, "read", read)


def _crash_forgotten_in_a_topic() -> AbstractContextManager[Any]:
    return patch.object(Deferrals, "is_alone", lambda _self, _offset: False)


def _our_headers_handed_on() -> AbstractContextManager[Any]:
    def read(self: RetryTopics, record: Record, partition: Partition) -> Deferred:
        deferred = _read(self, record, partition)
        return replace(deferred, record=changed(deferred.record, headers=record.headers))

    return patch.object(RetryTopics, "read", read)


def _tier_too_short() -> AbstractContextManager[Any]:
    def tier_for(delay_ms: int) -> Tier:
        return next((tier for tier in reversed(TIERS) if tier.ms <= delay_ms), TIERS[0])

    return patch.object(retrytopic, "tier_for", tier_for)


def _topic_not_followed() -> AbstractContextManager[Any]:
    async def follow(self: RetryFeed, member: Member, topics: object) -> None:
        _ = self, member, topics

    return patch.object(RetryFeed, "follow", follow)


BYWAYS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "hop counted as an attempt": _hop_counted_as_an_attempt,
    "delivered early": _delivered_early,
    "origin lost": _origin_lost,
    "deferred without ending": _deferred_without_ending,
    "lost on a hop": _lost_on_a_hop,
    "attempts begin anew in each topic": _attempts_begin_anew_in_each_topic,
    "crash forgotten in a topic": _crash_forgotten_in_a_topic,
    "our headers handed on": _our_headers_handed_on,
    "tier too short": _tier_too_short,
    "topic not followed": _topic_not_followed,
}
