"""Publications: what reaches the output and dead-letter topics. Promises: *emits*, *exactly once*, *order*."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headrace.runtime.ports import Partition, Record
from headrace.sandbox.headers import unpack
from simulation.life import Place
from simulation.scenario import most_attempts

if TYPE_CHECKING:
    from simulation.witness import Witness


class Publications:
    """Sees every record that a runtime has written."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._emits: Counter[str] = Counter()
        self._letters: Counter[tuple[str, Place]] = Counter()
        self._last: dict[object, tuple[int, int]] = {}

    def has_emits(self, ids: tuple[str, ...]) -> bool:
        """Whether all of these are on the disk."""
        return all(self._emits[id_] for id_ in ids)

    def has_letter(self, group: str, origin: Place) -> bool:
        """Whether the dead letter of an event is on the disk."""
        return self._letters[group, origin] > 0

    def emitted(self, topic: str, partition: int, record: Record) -> None:
        """A record that a handler emitted was written."""
        assert record.value is not None
        witness = self._witness
        function, place, nth, id_ = record.value.decode().split(" ")
        event = witness.lives.caused(function, place)
        self._emits[id_] += 1
        witness.world.trace("published", function, place, nth, "to", topic, partition, "at", record.offset)
        what = f"emit {nth} of {function} for {place}"
        if id_ not in event.known:
            witness.fail(f"emits: {what} is published, and never was the outcome of a success")
        if self._emits[id_] > 1:
            if witness.world.disk.transactional:
                witness.fail(f"exactly once: {what} is on the disk {self._emits[id_]} times")
            return
        lane, _ = event.lives[0].turns[witness.world.laxest(function)]
        way = (function, topic, partition, event.origin[0], lane)
        this = (event.origin[1], int(nth))
        last, self._last[way] = self._last.get(way, (-1, -1)), this
        # Where appends and progress are not one write, an owner may die between the emits of later events of the lane
        # and the dead letter of this one; run again it may succeed, and its emits come late. No reader can mend that.
        excused = event.barren and not witness.world.disk.transactional
        if last >= this and not excused:
            witness.fail(f"order: {what} (lane {lane}) is published after emit {last[1]} for offset {last[0]}")

    def letter(self, group: str, record: Record) -> None:
        """A dead letter was written."""
        witness = self._witness
        origin, attempts, error = _read_letter(record)
        (topic, partition), offset = origin
        self._letters[group, origin] += 1
        witness.saw("set aside")
        witness.world.trace("dead letter", group, topic, partition, offset, error)
        what = f"the dead letter of {topic}/{partition}/{offset} for {group}"
        if witness.world.disk.transactional and self._letters[group, origin] > 1:
            witness.fail(f"exactly once: {what} is on the disk {self._letters[group, origin]} times")
        if attempts > most_attempts(witness.world.groups[group]):
            witness.fail(f"attempts: {what} was written after {attempts} attempts")
        _, session = witness.settlements.being_written()
        event = witness.lives.event(session.spec.name, origin)
        if event is None or session.claim[0] != group:
            witness.fail(f"identity: {what} is of no event there is")
        lying = event.lying(session.claim[1])
        endings = [session.endings[life.offset] for life in lying if life.offset in session.endings]
        if not (dead := [ending.attempts for ending in endings if ending.kind == "dead"]):
            witness.fail(f"attempts: {what} is written; it has not failed for good, but: {endings}")
        if attempts not in dead:
            witness.fail(f"attempts: {what} says {attempts} attempts, it was after {dead}")
        first = event.record
        if (record.key, record.value) != (first.key, first.value):
            witness.fail(f"identity: {what} has another key or value")
        witness.saw("dead-lettered from a retry topic", lying[0].moved)

    def __repr__(self) -> str:
        return f"<Publications: {len(self._emits)} emits, {len(self._letters)} dead letters>"


def _read_letter(record: Record) -> tuple[Place, int, str]:
    """Where its event came from, after how many attempts, and what went wrong."""
    headers = {name: value.decode() for name, value in unpack(record.headers) if name.startswith("headrace-")}
    origin: Partition = (headers["headrace-origin-topic"], int(headers["headrace-origin-partition"]))
    place = (origin, int(headers["headrace-origin-offset"]))
    return place, int(headers["headrace-attempt"]), headers["headrace-error-type"]
