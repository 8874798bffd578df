"""A shard: one partition of one function, from delivery to settlement. A plain state machine.

    offer -> take -> report | lost -> settlement -> settled -> wake -> take …

It owns the three decisions that must agree with one another: which event may run (lanes), what has ended (progress),
and what an outcome leads to (verdict). Everything it decides goes into one pending settlement, in the order decided, so
that a settlement always encodes exactly the outcomes whose appends it carries. An event that failed is not handed out
again before the settlement that charges it is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import assert_never

from msgspec.structs import replace

from headrace.runtime.admission import Admission, Decision
from headrace.runtime.announcement import Announcement
from headrace.runtime.arrivals import arrivals_at
from headrace.runtime.batching import Batching
from headrace.runtime.condemned import Condemned
from headrace.runtime.flights import Flight, Flights
from headrace.runtime.lanes import Lane, Lanes
from headrace.runtime.leftovers import Leftover
from headrace.runtime.outbox import Outbox
from headrace.runtime.ports import Assigned, Fetched, Record, Settlement
from headrace.runtime.progress import Progress, runs_of
from headrace.runtime.result import Result
from headrace.runtime.room import Room
from headrace.runtime.terms import Terms
from headrace.runtime.verdict import Again, Finish, GiveBack, SetAside, Verdict, judge
from headrace.runtime.waits import Waits
from headrace.sandbox.outcome import NOT_RUN, Crashed, Done, Outcome
from headrace.sandbox.wire import Chunk, Origin, Task

MOST_HELD_EVENTS = 1000
MOST_HELD_BYTES = 16 << 20

_DONE = Done()
_FINISH = Finish([])


class Shard:
    """One partition of one function. Begins by taking over custody, which its first settlement writes down."""

    def __init__(self, assigned: Assigned, progress: Progress, terms: Terms) -> None:
        self.partition = assigned.partition
        self.epoch = assigned.epoch
        self.progress = progress
        self.terms = terms
        self._arrivals = arrivals_at(self.partition, terms)
        self._lanes = Lanes(terms.order)
        self._batching = Batching(terms.batch, self._lanes) if terms.batch else None
        self._flights = Flights()
        self._outbox = Outbox(self._arrivals)
        self._waits = Waits()
        self._settling = False
        self._room = Room(terms.progress_limit)
        self._admission = Admission(progress, self._room)
        self._announcement = Announcement(progress)
        self._condemned = Condemned(progress, terms.retry[-1].attempts, self._failures)
        self._retired = False
        self._dirty = True
        self._take_over()

    # -- delivery -------------------------------------------------------------------------------------------------

    def offer(self, fetched: Fetched, now_ms: int) -> int:
        """Take in what was fetched; how many of the events are to be handled."""
        before = self.progress.watermark
        fresh = self.progress.deliver(fetched.records, fetched.next)
        self._admit(self._arrivals.offer(fresh), now_ms)
        self._dirty = self._dirty or self.progress.watermark != before
        return len(fresh)

    # -- handing out ----------------------------------------------------------------------------------------------

    def take(self, chunk: int, limit: int, max_bytes: int, *, generation: int = 0) -> Chunk | None:
        """The next chunk to run, under the number `chunk`; None if nothing may run now."""
        if self._retired:
            return None
        if self.careful:
            return self._take_carefully(chunk, generation)
        if self._batching is None:
            return self._fly(chunk, self._lanes.take(limit, max_bytes), generation)
        batch = self._lanes.take_batch(limit, max_bytes)
        self._batching.look()
        return self._fly(chunk, batch, generation)

    def take_alone(self, chunk: int, limit: int = 1, max_bytes: int = 1, *, generation: int = 0) -> Chunk | None:
        """The next event, or part of a batch, that has to run alone, as a chunk of its own."""
        if self._retired or self.careful:
            return None
        if self._batching is not None:
            return self._fly(chunk, self._lanes.take_part_alone(limit, max_bytes), generation)
        taken = self._lanes.take_alone()
        return self._fly(chunk, [taken], generation) if taken else None

    def renew(self, terms: Terms) -> None:
        """What is handed out from now on runs under `terms`, whose order, batches and guarantee are those of before."""
        self.terms = terms
        self._condemned.attempts = terms.retry[-1].attempts

    def retire(self) -> None:
        """Hand nothing more out."""
        self._retired = True

    def leave(self) -> None:
        """Nothing of it runs any more: the next settlement says that its owner left in order."""
        self._retired = True
        self.progress.custody = self.progress.custody._replace(alive=False, started=None)
        self._dirty = True

    def leftover(self) -> Leftover | None:
        """What has not ended, once the owner has left and that is durable; None if it has to be fetched again."""
        if self.unsettled or self._flights or self._admission or not self._arrivals.direct:
            return None
        progress = self.progress
        return Leftover(self.partition, progress.watermark, progress.encode(), self._lanes.open(), progress.position)

    # -- outcomes -------------------------------------------------------------------------------------------------

    def report(
        self,
        chunk: int,
        first: int,
        outcomes: Sequence[Outcome | None],
        *,
        now_ms: int,
        draw: Callable[[], float],
        each_ns: Sequence[int] = (),
    ) -> list[Result]:
        """Take the outcomes of a chunk's events from index `first` on; what follows from each.

        `each_ns` is how long each of them took, where that is known. Each event is reported once; those of a lane in
        their order. Where all succeeded there are no results, unless the terms say `watched`.
        """
        indexes = range(first, first + len(outcomes))
        flight = self._flights.land(chunk, indexes)
        events = flight.events[first : first + len(outcomes)]
        if self._batching is not None:
            self._batching.divide_as_told(chunk, events, outcomes)
        if not self._finish_all(events, outcomes):
            results = [
                self._conclude(flight, index, _DONE if outcome is None else outcome, now_ms, draw)
                for index, outcome in zip(indexes, outcomes, strict=True)
            ]
            return [replace(one, spent_ns=ns) for one, ns in zip(results, each_ns, strict=True)] if each_ns else results
        return []

    def lost(
        self,
        chunk: int,
        guilty: Mapping[int, Outcome],
        suspects: Collection[int],
        *,
        now_ms: int,
        draw: Callable[[], float],
    ) -> list[Result]:
        """The worker died. `guilty` holds outcomes by index; `suspects` are to run alone; the others just go back.

        A batch was running as a whole: whatever is guilty or suspect of it, all of it is, and if that is more than one
        event it is divided.
        """
        flight = self._flights[chunk]
        still_open = sorted(flight.open)
        if self._batching is not None and (guilty or suspects):
            guilty, suspects = self._batching.lose(chunk, flight, guilty)
        self._lanes.alone.update(flight.events[index][1].offset for index in suspects if index in flight.open)
        results: list[Result] = []
        for index in still_open:
            outcome = guilty.get(index, NOT_RUN)
            if index in guilty and self._is_last_chance(flight, index, outcome, now_ms):
                outcome = NOT_RUN
            results += self.report(chunk, index, [outcome], now_ms=now_ms, draw=draw)
        return results

    # -- settling -------------------------------------------------------------------------------------------------

    def settlement(self) -> Settlement | None:
        """What is to be made durable now; None if there is nothing new or one is under way."""
        if self._settling:
            return None
        for decision in self._admission.again():
            self._carry_out(decision)
        if not self._dirty:
            return None
        self._settling = True
        self._waits.settling()
        self._dirty = False
        data = self._room.encoded(self.progress)
        appends = self._outbox.take()
        return Settlement(self.terms.group, self.partition, self.epoch, self.progress.watermark, data, appends)

    def settled(self) -> None:
        """The settlement under way is durable: what it charged may be tried again when due."""
        self._waits.settled()
        self._settling = False
        if not self._dirty:  # else the start may have been decided after the settlement was taken
            self._announcement.settled()

    def wake(self, now_ms: int) -> int | None:
        """Release what is due; when the next one is (milliseconds since 1970), None if nothing waits."""
        self._promote(now_ms)
        for lane in self._waits.release(now_ms):
            self._lanes.release(lane)
        self._bury(now_ms)
        full_ms = None if self._batching is None else self._batching.look(now_ms)
        dues_ms = (self._waits.next_ms, self._arrivals.next_due_ms, full_ms)
        return min((due_ms for due_ms in dues_ms if due_ms is not None), default=None)

    def hasten(self, origin: Origin, now_ms: int) -> bool:
        """Have the event that lay first at `origin` tried again now; False if it does not wait in place here."""
        for lane in self._waits.lanes:
            for record in (*lane.returned, *lane.waiting):
                if record.offset in self.progress.ledger and self._arrivals.origin(record.offset) == origin:
                    self._waits.hasten(lane, now_ms)
                    return True
        return False

    # -- how it stands --------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `take` may give an event now."""
        if self._retired:
            return False
        if self.careful:
            record = self._lanes.peek()
            return not self._flights and record is not None and not self._announcement.is_pending(record.offset)
        return self._lanes.ready if self._batching is None else self._batching.is_due

    @property
    def filling(self) -> bool:
        """Whether events wait for a batch to become full."""
        return self._batching is not None and self._lanes.ready

    @property
    def ready_alone(self) -> bool:
        """Whether `take_alone` would give an event now."""
        return self._lanes.ready_alone and not self._retired and not self.careful

    @property
    def careful(self) -> bool:
        """Whether events run one at a time, each start written down first."""
        return self.progress.custody.is_careful(self.progress.watermark)

    @property
    def full(self) -> str | None:
        """Why nothing more is to be fetched, if so: too much waits, or progress is about to outgrow its limit."""
        if self._lanes.held_events >= MOST_HELD_EVENTS or self._lanes.held_bytes >= MOST_HELD_BYTES:
            return f"{self._lanes.held_events} events wait behind others that are to be tried again"
        if self._admission:
            return f"{len(self._admission)} events have ended for which progress has no room"
        # Where nothing is held nothing can end: what takes the room has to be fetched first, after a takeover.
        return self._room.shortage if self.events else None

    @property
    def events(self) -> int:
        """Events delivered that have not ended."""
        return self._lanes.events + self._arrivals.waiting

    @property
    def bytes(self) -> int:
        """About the memory they take."""
        return self._lanes.bytes + self._arrivals.bytes

    @property
    def in_flight(self) -> bool:
        """Whether events are in a worker."""
        return bool(self._flights)

    def flies(self, chunk: int, index: int | None = None) -> bool:
        """Whether some event of that chunk, or the one at `index`, is still in a worker."""
        return self._flights.has(chunk, index)

    @property
    def unsettled(self) -> bool:
        """Whether something decided is not durable yet."""
        return self._dirty or self._settling

    @property
    def waiting(self) -> int:
        """How many events wait for another attempt."""
        return self._arrivals.waiting + len(self._waits)

    # -- the steps ------------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        progress = self.progress
        died_at = progress.custody.died_at
        progress.custody = progress.custody.taken_over(progress.watermark)
        if died_at is not None:
            self._condemned.charge(died_at)
        self._lanes.alone.update(offset for offset, charge in progress.ledger.items() if charge.alone)

    def _bury(self, now_ms: int) -> None:
        """Set condemned events aside whose turn has come: all before them in their lanes have ended."""
        while (record := self._lanes.peek_alone()) is not None and self._condemned.has(record.offset):
            taken = self._lanes.take_alone()
            assert taken is not None
            self._outbox.set_aside(record, self._condemned.bury(record.offset), self.terms.sender, now_ms)
            self._end(*taken)

    def _is_last_chance(self, flight: Flight, index: int, outcome: Outcome, now_ms: int) -> bool:
        """Condemn a guilty event that is to be set aside, but only after others of its lane that have to run again."""
        lane, record = flight.events[index]
        failures, age_ms = self._failures(record.offset), now_ms - record.timestamp
        verdict = judge(outcome, flight.terms.retry, failures=failures, age_ms=age_ms, draw=0.0)
        if not lane.returned or not isinstance(verdict, SetAside):
            return False
        if record.offset not in self.progress.ledger and not self._room.take(self.progress):
            return True  # it cannot even be noted: it goes back uncharged, to run alone
        self._condemned.add(record.offset, verdict)
        self._lanes.alone.add(record.offset)
        self._dirty = True
        return True

    def _take_carefully(self, chunk: int, generation: int) -> Chunk | None:
        if self._flights or (record := self._lanes.peek()) is None:
            return None
        if self._announcement.is_durable(record.offset):
            taken = self._lanes.take_alone()
            return self._fly(chunk, [taken] if taken else self._lanes.take(1, 1), generation)
        self._dirty = self._announcement.make(record.offset) or self._dirty
        return None

    def _fly(self, chunk: int, events: list[tuple[Lane, Record]], generation: int) -> Chunk | None:
        if not events:
            return None
        self._flights.take_off(chunk, events, generation, self.terms)
        return Chunk(chunk, *self.partition, self._tasks(events))

    def _tasks(self, events: list[tuple[Lane, Record]]) -> list[Task]:
        if self._arrivals.direct and not self.progress.ledger:  # nearly always: nothing is known of any event
            return [Task(r.offset, r.timestamp, r.key, r.value, r.headers, 1, lane.epoch) for lane, r in events]
        origin = (lambda _offset: None) if self._arrivals.direct else self._arrivals.origin
        return [
            Task(
                r.offset,
                r.timestamp,
                r.key,
                r.value,
                r.headers,
                self._failures(r.offset) + 1,
                lane.epoch,
                origin(r.offset),
            )
            for lane, r in events
        ]

    def _conclude(self, flight: Flight, index: int, outcome: Outcome, now_ms: int, draw: Callable[[], float]) -> Result:
        lane, record = flight.events[index]
        failures = self._failures(record.offset)
        origin = None if self._arrivals.direct else self._arrivals.origin(record.offset)
        verdict: Verdict
        if isinstance(outcome, Done):  # by far the most frequent: spare it the dice and the arithmetic
            verdict = Finish(outcome.emits) if outcome.emits else _FINISH
        else:
            age_ms = now_ms - record.timestamp
            verdict = judge(outcome, flight.terms.retry, failures=failures, age_ms=age_ms, draw=draw())
        decision = Decision(verdict, lane, record, isinstance(outcome, Crashed), now_ms, flight.terms.sender)
        if (admitted := self._admission.admit(decision)) is not None:
            self._carry_out(admitted)
        if origin is None:
            return Result(self.partition, record, failures + 1, outcome, verdict, flight.generation, flight.terms.code)
        first = replace(record, offset=origin.offset)
        place = (origin.topic, origin.partition)
        return Result(place, first, failures + 1, outcome, verdict, flight.generation, flight.terms.code)

    def _carry_out(self, decision: Decision) -> None:
        verdict, lane, record, crashed, now_ms, sender = decision
        match verdict:
            case Finish(emits):
                self._outbox.publish(emits)
                self._end(lane, record)
            case SetAside():
                self._outbox.set_aside(record, verdict, sender, now_ms)
                self._end(lane, record)
            case Again(delay_ms):
                due_ms = now_ms + delay_ms
                if self.terms.aside and self._defer(record, due_ms, now_ms, crashed=crashed):
                    self._end(lane, record)
                else:
                    self._hold(lane, record, due_ms, crashed=crashed)
            case GiveBack():
                if crashed:
                    self._lanes.alone.add(record.offset)
                self._lanes.give_back(lane, record)
                self._dirty = self._announcement.withdraw() or self._dirty
            case _:
                assert_never(verdict)

    def _hold(self, lane: Lane, record: Record, due_ms: int, *, crashed: bool) -> None:
        """Have it wait in place, its lane with it."""
        self.progress.charge(record.offset, due_ms, alone=crashed)
        if crashed:  # once charged with a crash, an event always runs alone
            self._lanes.alone.add(record.offset)
        if self._batching is not None:
            self._batching.set_apart(record.offset)
        self._lanes.hold(lane, record)
        self._waits.charge(due_ms, lane)
        self._announcement.withdraw()
        self._dirty = True

    def _promote(self, now_ms: int) -> None:
        """Let those be handled whose time has come; those who wait longer than their tier go on to another."""
        for event in self._arrivals.due(now_ms):
            offset = event.record.offset
            if event.not_before_ms > now_ms:
                assert self.terms.retries is not None
                self._outbox.pass_on(event, self.terms.retries, now_ms)
                self._arrivals.forget(offset)
                self.progress.finish(offset)
                self._dirty = True
            else:
                if event.alone:
                    self._lanes.alone.add(offset)
                self._admit([event.record], now_ms)

    def _defer(self, record: Record, due_ms: int, now_ms: int, *, crashed: bool) -> bool:
        """Have it wait in a retry topic; False if it is too large for one."""
        assert self.terms.retries is not None
        offset = record.offset
        charge = self.progress.ledger.get(offset)  # by an owner's death, which is a crash of its own
        alone = crashed or self._arrivals.is_alone(offset) or (charge is not None and charge.alone)
        failures = self._failures(offset) + 1
        return self._outbox.defer(
            record, self.terms.retries, failures=failures, due_ms=due_ms, alone=alone, now_ms=now_ms
        )

    def _failures(self, offset: int) -> int:
        """Charged failures of the event, those it brought along included."""
        return self._arrivals.failures(offset) + self.progress.failures(offset)

    def _end(self, lane: Lane, record: Record) -> None:
        self._arrivals.forget(record.offset)
        self.progress.finish(record.offset)
        self._lanes.end(lane, record)
        self._announcement.withdraw()
        self._dirty = True

    def _finish_all(self, events: list[tuple[Lane, Record]], outcomes: Sequence[Outcome | None]) -> bool:
        """The fast path: conclude events together. False, having done nothing, if they need a look one by one."""
        if self.progress.ledger or self.terms.watched or self._admission or not self._arrivals.direct:
            return False
        if not all(outcome is None or type(outcome) is Done for outcome in outcomes):
            return False
        runs = runs_of(record.offset for _, record in events)
        if not self._room.take(self.progress, len(runs)):
            return False
        for outcome in outcomes:
            if isinstance(outcome, Done):
                self._outbox.publish(outcome.emits)
        self._lanes.end_all(events)
        for start, end in runs:
            self.progress.finish_run(start, end)
        self._announcement.withdraw()
        self._dirty = True
        return True

    def _admit(self, records: Sequence[Record], now_ms: int) -> None:
        if self._batching is not None:
            for record in records:
                if self._failures(record.offset):
                    self._batching.set_apart(record.offset)
        self._lanes.offer(records)
        if self.progress.ledger:
            self._remember_waits(records, now_ms)

    def _remember_waits(self, fresh: Sequence[Record], now_ms: int) -> None:
        """Hold the lanes of events whose next attempt, charged in an earlier life, is still to come."""
        for record in fresh:
            charge = self.progress.ledger.get(record.offset)
            if charge is not None and charge.due_ms > now_ms:
                lane = self._lanes.hold_waiting(self._lanes.key_of(record))
                self._waits.add(charge.due_ms, lane)

    def __repr__(self) -> str:
        topic, partition = self.partition
        return f"<Shard {topic}/{partition}: {self._lanes!r}, {self.progress!r}>"
