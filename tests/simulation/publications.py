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
        life = witness.lives.caused(function, place)
        self._emits[id_] += 1
        witness.world.trace("published", function, place, nth, "to", topic, partition, "at", record.offset)
        what = f"emit {nth} of {function} for {place}"
        if id_ not in life.known:
            witness.fail(f"emits: {what} is published, and never was the outcome of a success")
        if self._emits[id_] > 1:
            if witness.world.disk.transactional:
                witness.fail(f"exactly once: {what} is on the disk {self._emits[id_]} times")
            return
        way = (function, topic, partition, life.origin[0], life.lane)
        this = (life.origin[1], int(nth))
        last, self._last[way] = self._last.get(way, (-1, -1)), this
        # Where appends and progress are not one write, an owner may die between the emits of later events of the lane
        # and the dead letter of this one; run again it may succeed, and its emits come late. No reader can mend that.
        excused = life.barren and not witness.world.disk.transactional
        if last >= this and not excused:
            witness.fail(f"order: {what} (lane {life.lane}) is published after emit {last[1]} for offset {last[0]}")

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
        life = witness.lives.from_(witness.world.groups[group].name, origin)
        ending = witness.settlements.writer(group, life).endings.get(life.offset)
        if ending is None or ending.kind != "dead":
            witness.fail(f"attempts: {what} is written; it has not failed for good, but: {ending}")
        if ending.attempts != attempts:
            witness.fail(f"attempts: {what} says {attempts} attempts, it was after {ending.attempts}")

    def __repr__(self) -> str:
        return f"<Publications: {len(self._emits)} emits, {len(self._letters)} dead letters>"


def _read_letter(record: Record) -> tuple[Place, int, str]:
    """Where its event came from, after how many attempts, and what went wrong."""
    headers = {name: value.decode() for name, value in unpack(record.headers)}
    origin: Partition = (headers["headrace-origin-topic"], int(headers["headrace-origin-partition"]))
    place = (origin, int(headers["headrace-origin-offset"]))
    return place, int(headers["headrace-attempt"]), headers["headrace-error-type"]
