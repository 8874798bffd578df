"""Detours: events that go through retry topics. Promises: *identity*, *attempts*, *exactly once*, *nothing lost*."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.runtime.ports import Partition, Record
from headrace.sandbox.headers import unpack
from headrace.sandbox.wire import Task
from simulation.life import Event, Life
from simulation.note import TIERS_MS, Note, tier_for, tier_of
from simulation.session import Ending, Session
from simulation.settlements import Offer

if TYPE_CHECKING:
    from simulation.witness import Witness


class Detours:
    """Sees every record of a retry topic."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._offers: defaultdict[Life, list[tuple[Offer, int]]] = defaultdict(list)  # what moved a life on, and when
        self._lives: defaultdict[Offer, list[Life]] = defaultdict(list)

    def moved(self, life: Life) -> bool:
        """Whether an event has gone on from there. If it lies there twice, whichever of the two it was."""
        return any(one in self._offers for one in life.event.lying(life.lies[0]))

    def moved_by(self, offer: Offer) -> Sequence[Life]:
        """What a settlement moved on."""
        return self._lives.get(offer, ())

    def written(self, group: str, partition: Partition, record: Record) -> None:
        """A record of a retry topic was written."""
        witness, note = self._witness, Note.read(record)
        offer, session = witness.settlements.being_written()
        what = f"the retry of {note.origin} for {group}, written to {partition} at {record.offset} by {session}"
        witness.world.trace("deferred", group, *note.origin, "to", *partition, record.offset, "attempt", note.attempt)
        event = witness.lives.event(session.spec.name, note.origin)
        if event is None or session.claim[0] != group:
            witness.fail(f"identity: {what}, is of no event there is")
        self._check_copy(event, partition, record, note, what)
        parent = self._parent(event, session, note, record)
        if parent is None:
            witness.fail(f"identity: {what}, which has not got it")
        self._move(parent, session, offer, note)
        self._offers[parent].append((offer, offer.times))
        self._lives[offer].append(parent)
        self._arrive(event, partition, record, note)

    def delivered(self, life: Life, task: Task, now_ms: int, what: str) -> None:
        """An event starts."""
        witness, event = self._witness, life.event
        first = event.record
        if (task.key, task.value, task.timestamp) != (first.key, first.value, first.timestamp):
            witness.fail(f"identity: {what} starts with another key, value or time than {event} had")
        if task.headers != first.headers and unpack(task.headers) != unpack(first.headers):
            witness.fail(f"identity: {what} starts with headers that {event} had not")
        origin = None if task.origin is None else ((task.origin.topic, task.origin.partition), task.origin.offset)
        if origin != (event.origin if life.moved else None):
            witness.fail(f"identity: {what} starts as an event from {origin}, it is {event}")
        if life.due_ms > now_ms:
            witness.fail(f"attempts: {what} starts {life.due_ms - now_ms} ms before the time in its record")

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _check_copy(self, event: Event, partition: Partition, record: Record, note: Note, what: str) -> None:
        fail, first, (topic, number) = self._witness.fail, event.record, partition
        if (record.key, record.value, note.timestamp) != (first.key, first.value, first.timestamp):
            fail(f"identity: {what}, has another key, value or time")
        if note.kept != unpack(first.headers):
            fail(f"identity: {what}, has the headers {note.kept}, not {unpack(first.headers)}")
        if number != event.origin[0][1] % len(self._witness.world.disk.topic(topic).journals):
            fail(f"identity: {what}, is not in the partition of its number")
        if tier_of(topic) != (tier := tier_for(note.due_ms - record.timestamp)):
            fail(f"attempts: {what}, belongs into {tier}, {note.due_ms - record.timestamp} ms before it is due")

    def _parent(self, event: Event, session: Session, note: Note, record: Record) -> Life | None:
        """The life that the record continues. Where an event lies twice, which of the two cannot always be told."""
        lying = event.lying(session.claim[1])
        objections = {life: self._objection(life, session, note, record) for life in lying}
        if len(lying) == 1 and (repeated := self._objection_to_repeat(lying[0], session)) is not None:
            self._witness.fail(repeated)
        fit = [life for life, objection in objections.items() if objection is None]
        if not fit and lying:
            self._witness.fail("; ".join(str(objection) for objection in objections.values()))
        return min(fit, key=lambda life: len(self._offers.get(life, ())), default=None)

    def _objection(self, life: Life, session: Session, note: Note, record: Record) -> str | None:
        """Why the record cannot be what became of this life; None if it can."""
        if (ending := session.endings.get(life.offset)) is None:
            return self._objection_to_hop(life, session, note, record)
        if ending.kind != "moved":
            return f"attempts: {life} is deferred by {session}; it has ended: {ending}"
        if note.attempt != ending.attempts + 1:
            return f"attempts: {life} is deferred to attempt {note.attempt}, it had {ending.attempts}"
        if note.alone != ending.alone:
            return f"attempts: {life} is {'' if note.alone else 'not '}marked to run alone; {ending}"
        if not ending.least_ms <= note.due_ms <= ending.most_ms:
            return f"attempts: {life} is due at {note.due_ms}, not from {ending.least_ms} to {ending.most_ms}"
        return None

    def _objection_to_repeat(self, life: Life, session: Session) -> str | None:
        witness, before = self._witness, self._offers.get(life, [])
        offer, _ = witness.settlements.being_written()
        if before and witness.world.disk.transactional:
            return f"exactly once: {life} is deferred a second time, by {session}"
        if any(by is offer and times == offer.times for by, times in before):
            return f"exactly once: {life} is deferred twice in one settlement, by {session}"
        if any(by is not offer and by.epoch == offer.epoch for by, _ in before):
            return f"exactly once: {life} is deferred in two settlements of {session}"
        # Who is not the owner may have begun to write before it lost the partition; one whose acknowledgement was lost,
        # that of its progress even, writes the same again.
        first = witness.sessions.owns(session) and not any(by is offer for by, _ in before)
        if first and witness.durable(session.claim).done(life.offset):
            return f"exactly once: {life} is deferred by {session}, and was durably done"
        return None

    def _objection_to_hop(self, life: Life, session: Session, note: Note, record: Record) -> str | None:
        if not life.moved or life.session is session:
            return f"attempts: {life} is deferred, and has not ended"
        if not life.hop_ms <= record.timestamp < life.due_ms:
            return f"attempts: {life} goes on at {record.timestamp}; due at {life.due_ms}, a hop at {life.hop_ms}"
        if (note.attempt, note.due_ms, note.alone) != (life.brought + 1, life.due_ms, life.marked):
            return f"attempts: {life} goes on as {note}, it had {life.brought} failures and was due at {life.due_ms}"
        return None

    def _move(self, life: Life, session: Session, offer: Offer, note: Note) -> None:
        saw = self._witness.saw
        before = self._offers.get(life, [])
        saw("deferred a second time: repeated settlement", any(by is offer for by, _ in before))
        saw("deferred a second time: another owner", any(by is not offer for by, _ in before))
        if life.offset not in session.endings:  # a hop, or the repeated write of one
            session.endings[life.offset] = Ending("moved", (), life.brought, life.marked, life.due_ms, life.due_ms)
            session.ended += 1
            saw("hopped")

    def _arrive(self, event: Event, partition: Partition, record: Record, note: Note) -> None:
        witness = self._witness
        life = witness.lives.lies(event, witness.world.orders(event.function), (partition, record.offset))
        life.brought, life.due_ms = note.attempt - 1, note.due_ms
        life.marked = life.crashed = life.alone = note.alone
        life.hop_ms = record.timestamp + TIERS_MS[tier_of(partition[0])]
        witness.saw(f"deferred to {tier_of(partition[0])}")

    def __repr__(self) -> str:
        return f"<Detours: {len(self._offers)} lives moved on>"
