"""Arrivals: where the events of a partition come from, and when they may be handled.

Events of an ordinary partition are their own origin and may be handled at once (`Direct`); those of a retry topic lay
elsewhere first, bring their failures along, and wait for their time (`Deferrals`). Plain state, beside the shard of
the partition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from headrace.runtime.lanes import size_of
from headrace.runtime.ports import Partition, Record
from headrace.runtime.retrytopic import Deferred, RetryTopics
from headrace.runtime.terms import Terms
from headrace.sandbox.wire import Origin


class Arrivals(Protocol):
    """The events of one partition before they are handled, and what is known of them until they have ended."""

    @property
    def direct(self) -> bool:
        """Whether all events are their own origin, without failures of an earlier life."""
        ...

    @property
    def waiting(self) -> int:
        """How many wait for their time."""
        ...

    @property
    def bytes(self) -> int:
        """About the memory those take."""
        ...

    def offer(self, records: Sequence[Record]) -> Sequence[Record]:
        """Take delivered records in, in offset order; those that may be handled at once."""
        ...

    def due(self, now_ms: int) -> Iterator[Deferred]:
        """Let go of those about which something is to be done now."""
        ...

    @property
    def next_due_ms(self) -> int | None:
        """When the next one is due (milliseconds since 1970); None if none waits."""
        ...

    def failures(self, offset: int) -> int:
        """Failures charged to the event before it came here."""
        ...

    def is_alone(self, offset: int) -> bool:
        """Whether it had to run alone before it came here."""
        ...

    def origin(self, offset: int) -> Origin:
        """Where the event lay first."""
        ...

    def forget(self, offset: int) -> None:
        """The event has ended here."""
        ...


def arrivals_at(partition: Partition, terms: Terms) -> Arrivals:
    """The arrivals of a partition, before the first one."""
    retries = terms.retries
    if retries is None or partition[0] not in retries.tiers:
        return Direct(partition)
    return Deferrals(retries, partition, hops=terms.aside)


class Direct:
    """Implements `Arrivals` for an ordinary partition."""

    direct = True
    waiting = 0
    bytes = 0
    next_due_ms = None

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    def offer(self, records: Sequence[Record]) -> Sequence[Record]:
        """See `Arrivals.offer`."""
        return records

    def due(self, now_ms: int) -> Iterator[Deferred]:
        """See `Arrivals.due`."""
        _ = now_ms
        return iter(())

    def failures(self, offset: int) -> int:
        """See `Arrivals.failures`."""
        _ = offset
        return 0

    def is_alone(self, offset: int) -> bool:
        """See `Arrivals.is_alone`."""
        _ = offset
        return False

    def origin(self, offset: int) -> Origin:
        """See `Arrivals.origin`."""
        return Origin(*self._partition, offset)

    def forget(self, offset: int) -> None:
        """See `Arrivals.forget`."""

    def __repr__(self) -> str:
        return f"<Direct arrivals of {self._partition[0]}/{self._partition[1]}>"


class Deferrals:
    """Implements `Arrivals` for a partition of a retry topic.

    Events are let go in the order of the partition: one that is not due yet holds up those behind it, for as long as
    the tier's delay at most. `hops` is whether one that is to wait longer may go on to another tier then.
    """

    direct = False

    def __init__(self, topics: RetryTopics, partition: Partition, *, hops: bool) -> None:
        self._topics = topics
        self._partition = partition
        self._hops = hops
        self._waiting: deque[Deferred] = deque()
        self._known: dict[int, Deferred] = {}
        self.bytes = 0

    def offer(self, records: Sequence[Record]) -> Sequence[Record]:
        """See `Arrivals.offer`; even what is due already is let go by `due` alone."""
        for record in records:
            deferred = self._topics.read(record, self._partition)
            self._known[record.offset] = deferred
            self._waiting.append(deferred)
            self.bytes += size_of(deferred.record)
        return ()

    def due(self, now_ms: int) -> Iterator[Deferred]:
        """See `Arrivals.due`."""
        while self._waiting and self._due_ms(self._waiting[0]) <= now_ms:
            deferred = self._waiting.popleft()
            self.bytes -= size_of(deferred.record)
            yield deferred

    @property
    def waiting(self) -> int:
        """See `Arrivals.waiting`."""
        return len(self._waiting)

    @property
    def next_due_ms(self) -> int | None:
        """See `Arrivals.next_due_ms`."""
        return self._due_ms(self._waiting[0]) if self._waiting else None

    def failures(self, offset: int) -> int:
        """See `Arrivals.failures`."""
        return self._known[offset].failures

    def is_alone(self, offset: int) -> bool:
        """See `Arrivals.is_alone`."""
        return self._known[offset].alone

    def origin(self, offset: int) -> Origin:
        """See `Arrivals.origin`."""
        return self._known[offset].origin

    def forget(self, offset: int) -> None:
        """See `Arrivals.forget`."""
        del self._known[offset]

    def _due_ms(self, deferred: Deferred) -> int:
        return min(deferred.not_before_ms, deferred.hop_ms) if self._hops else deferred.not_before_ms

    def __repr__(self) -> str:
        return f"<Deferrals of {self._partition[0]}/{self._partition[1]}: {self.waiting} wait for their time>"
