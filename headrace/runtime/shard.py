"""A shard: one partition of one function, from delivery to settlement. A plain state machine.

    offer -> take -> report | lost -> settlement -> settled -> wake -> take …

It owns the three decisions that must agree with one another: which event may run (lanes), what has ended (progress),
and what an outcome leads to (verdict). Everything it decides goes into one pending settlement, in the order decided, so
that a settlement always encodes exactly the outcomes whose appends it carries. An event that failed is not handed out
again before the settlement that charges it is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import assert_never

import msgspec

from headrace.runtime.deadletter import Sender, dead_letter
from headrace.runtime.lanes import Lane, Lanes
from headrace.runtime.ports import Append, Assigned, Fetched, Partition, Record, Settlement
from headrace.runtime.progress import Progress
from headrace.runtime.verdict import Again, Finish, GiveBack, SetAside, Verdict, judge
from headrace.sandbox.manifest import FunctionSpec, RetryPolicy
from headrace.sandbox.outcome import Done, NotRun, Outcome
from headrace.sandbox.wire import Chunk, Task

_DONE = Done()
_FINISH = Finish([])


@dataclass(frozen=True, slots=True)
class Terms:
    """What a shard must know of its function. `sender` is None where exhausted events are discarded."""

    group: str
    order: str
    retry: Sequence[RetryPolicy]
    sender: Sender | None
    watched: bool = False

    @classmethod
    def of(cls, spec: FunctionSpec, group: str, sender: Sender | None, *, watched: bool = False) -> Terms:
        """The terms of a declared function."""
        return cls(group, spec.order, spec.retry, sender, watched)


class Result(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended and what follows, for observers."""

    partition: Partition
    record: Record
    attempt: int
    outcome: Outcome
    verdict: Verdict


@dataclass(slots=True)
class _Flight:
    """A chunk in a worker: its events and the index of the first one not reported yet."""

    events: list[tuple[Lane, Record]]
    reported: int = 0


class Shard:
    """One partition of one function."""

    def __init__(self, assigned: Assigned, progress: Progress, terms: Terms) -> None:
        self.partition = assigned.partition
        self.epoch = assigned.epoch
        self.progress = progress
        self.terms = terms
        self._lanes = Lanes(terms.order)
        self._flights: dict[int, _Flight] = {}
        self._appends: list[Append] = []
        self._charged: list[tuple[int, Lane]] = []
        self._timers: list[tuple[int, int, Lane]] = []
        self._dirty = assigned.watermark is None  # where a new group starts is settled before anything else
        self._settling: list[tuple[int, Lane]] | None = None

    def offer(self, fetched: Fetched, now_ms: int) -> int:
        """Take in what was fetched; how many of the events are to be handled."""
        before = self.progress.watermark
        fresh = self.progress.deliver(fetched.records, fetched.next)
        self._lanes.offer(fresh)
        if self.progress.ledger:
            self._remember_waits(fresh, now_ms)
        self._dirty = self._dirty or self.progress.watermark != before
        return len(fresh)

    def take(self, chunk: int, limit: int, max_bytes: int) -> Chunk | None:
        """The next chunk to run, under the number `chunk`; None if nothing may run now."""
        events = self._lanes.take(limit, max_bytes)
        if not events:
            return None
        self._flights[chunk] = _Flight(events)
        failures = self.progress.failures if self.progress.ledger else None
        tasks = [
            Task(
                r.offset, r.timestamp, r.key, r.value, r.headers, failures(r.offset) + 1 if failures else 1, lane.epoch
            )
            for lane, r in events
        ]
        return Chunk(chunk, *self.partition, tasks)

    def report(
        self, chunk: int, outcomes: Sequence[Outcome | None], *, now_ms: int, draw: Callable[[], float]
    ) -> list[Result]:
        """Take the outcomes of the chunk's next events, in order; what follows from each.

        Plain success yields no results unless the terms say `watched`.
        """
        flight = self._flights[chunk]
        events = flight.events[flight.reported : flight.reported + len(outcomes)]
        flight.reported += len(outcomes)
        if flight.reported == len(flight.events):
            del self._flights[chunk]
        if any(outcomes) or self.progress.ledger:
            return [
                self._conclude(lane, record, _DONE if outcome is None else outcome, now_ms, draw)
                for (lane, record), outcome in zip(events, outcomes, strict=True)
            ]
        self._finish_all(events)
        return [Result(self.partition, record, 1, _DONE, _FINISH) for _, record in events] if self.terms.watched else []

    def lost(self, chunk: int, crashed: dict[int, Outcome], *, now_ms: int, draw: Callable[[], float]) -> list[Result]:
        """The worker died. `crashed` holds outcomes by index for events that are to blame; the rest was not run."""
        flight = self._flights[chunk]
        outcomes = [crashed.get(i, NotRun()) for i in range(flight.reported, len(flight.events))]
        return self.report(chunk, outcomes, now_ms=now_ms, draw=draw)

    def settlement(self) -> Settlement | None:
        """What is to be made durable now; None if there is nothing new or one is under way."""
        if self._settling is not None or not self._dirty:
            return None
        self._settling, self._charged = self._charged, []
        appends, self._appends = self._appends, []
        self._dirty = False
        progress = self.progress
        return Settlement(self.terms.group, self.partition, self.epoch, progress.watermark, progress.encode(), appends)

    def settled(self) -> None:
        """The settlement under way is durable: what it charged may be tried again when due."""
        for due_ms, lane in self._settling or ():
            heappush(self._timers, (due_ms, id(lane), lane))
        self._settling = None

    def wake(self, now_ms: int) -> int | None:
        """Release what is due; when the next one is (milliseconds since 1970), None if nothing waits."""
        while self._timers and self._timers[0][0] <= now_ms:
            self._lanes.release(heappop(self._timers)[2])
        return self._timers[0][0] if self._timers else None

    @property
    def ready(self) -> bool:
        """Whether an event may run now."""
        return self._lanes.ready

    @property
    def events(self) -> int:
        """Events delivered that have not ended."""
        return self._lanes.events

    @property
    def bytes(self) -> int:
        """About the memory they take."""
        return self._lanes.bytes

    @property
    def in_flight(self) -> bool:
        """Whether events are in a worker."""
        return bool(self._flights)

    def flies(self, chunk: int) -> bool:
        """Whether some event of that chunk is still in a worker."""
        return chunk in self._flights

    @property
    def unsettled(self) -> bool:
        """Whether something decided is not durable yet."""
        return self._dirty or self._settling is not None

    @property
    def waiting(self) -> int:
        """How many events wait for another attempt."""
        return len(self._timers) + len(self._charged) + len(self._settling or ())

    def _conclude(self, lane: Lane, record: Record, outcome: Outcome, now_ms: int, draw: Callable[[], float]) -> Result:
        failures = self.progress.failures(record.offset)
        verdict: Verdict
        if isinstance(outcome, Done):  # by far the most frequent: spare it the dice and the arithmetic
            verdict = Finish(outcome.emits)
        else:
            age_ms = now_ms - record.timestamp
            verdict = judge(outcome, self.terms.retry, failures=failures, age_ms=age_ms, draw=draw())
        self._carry_out(verdict, lane, record, now_ms)
        return Result(self.partition, record, failures + 1, outcome, verdict)

    def _carry_out(self, verdict: Verdict, lane: Lane, record: Record, now_ms: int) -> None:
        match verdict:
            case Finish(emits):
                self._appends += [Append(e.topic, e.partition, e.timestamp, e.key, e.value, e.headers) for e in emits]
                self._end(lane, record)
            case SetAside(failure, attempts):
                if (sender := self.terms.sender) is not None:
                    letter = dead_letter(
                        record, self.partition, failure, attempts=attempts, sender=sender, now_ms=now_ms
                    )
                    self._appends.append(letter)
                self._end(lane, record)
            case Again(delay_ms):
                self.progress.charge(record.offset, now_ms + delay_ms)
                self._lanes.hold(lane, record)
                self._charged.append((now_ms + delay_ms, lane))
                self._dirty = True
            case GiveBack():
                self._lanes.give_back(lane, record)
            case _:
                assert_never(verdict)

    def _end(self, lane: Lane, record: Record) -> None:
        self.progress.finish(record.offset)
        self._lanes.end(lane, record)
        self._dirty = True

    def _finish_all(self, events: list[tuple[Lane, Record]]) -> None:
        """The fast path: events plainly done, marked in runs of consecutive offsets."""
        start = end = -1
        for lane, record in events:
            self._lanes.end(lane, record)
            if record.offset == end:
                end += 1
                continue
            if start >= 0:
                self.progress.finish_run(start, end)
            start, end = record.offset, record.offset + 1
        if start >= 0:
            self.progress.finish_run(start, end)
            self._dirty = True

    def _remember_waits(self, fresh: Sequence[Record], now_ms: int) -> None:
        """Hold the lanes of events whose next attempt, charged in an earlier life, is still to come."""
        for record in fresh:
            charge = self.progress.ledger.get(record.offset)
            if charge is not None and charge.due_ms > now_ms:
                lane = self._lanes.hold_waiting(self._lanes.key_of(record))
                heappush(self._timers, (charge.due_ms, id(lane), lane))

    def __repr__(self) -> str:
        topic, partition = self.partition
        return f"<Shard {topic}/{partition}: {self._lanes!r}, {self.progress!r}>"
