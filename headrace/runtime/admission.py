"""Admission: of what was decided, what progress has room for. The rest waits undecided, so to speak, outside.

Order holds outside too: nothing of a lane is admitted before what was decided earlier in it. Where nothing is limited,
everything is admitted at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from headrace.runtime.deadletter import Sender
from headrace.runtime.lanes import Lane
from headrace.runtime.ports import Record
from headrace.runtime.progress import Progress
from headrace.runtime.room import Room
from headrace.runtime.verdict import GiveBack, Verdict


class Decision(NamedTuple):
    """What was decided of an event at `now_ms`; `crashed`: by the death of its worker.

    `sender` is who makes its dead letter, if it gets one.
    """

    verdict: Verdict
    lane: Lane
    record: Record
    crashed: bool
    now_ms: int
    sender: Sender | None


class Admission:
    """What of one partition was decided and is not in its progress. Falsy if there is nothing."""

    def __init__(self, progress: Progress, room: Room) -> None:
        self._progress = progress
        self._room = room
        self._outside: list[Decision] = []

    def admit(self, decision: Decision) -> Decision | None:
        """What is to be carried out now; None if it stays outside.

        A crash cannot stay if an event before it in its lane has to run again: that could not run then, and perhaps
        nothing else makes room. There is a reserve for it; beyond that it goes back uncharged, to run alone.
        """
        if self._has_room(decision):
            return decision
        if decision.lane.returned:
            urgent = self._room.take(self._progress, urgent=True)
            return decision if urgent else decision._replace(verdict=GiveBack())
        self._outside.append(decision)
        return None

    def again(self) -> Iterator[Decision]:
        """Those that may be carried out by now, each to be carried out before the next is asked for."""
        before = None
        while self._outside and len(self._outside) != before:
            before = len(self._outside)
            outside, self._outside = self._outside, []
            for decision in outside:
                if (admitted := self.admit(decision)) is not None:
                    yield admitted

    def _has_room(self, decision: Decision) -> bool:
        if any(before.lane is decision.lane for before in self._outside):
            return False
        if not self._room.is_limited or isinstance(decision.verdict, GiveBack):
            return True
        offset = decision.record.offset
        if offset == self._progress.watermark or offset in self._progress.ledger:
            return True
        return self._room.take(self._progress)

    def __len__(self) -> int:
        """How many wait outside."""
        return len(self._outside)

    def __repr__(self) -> str:
        return f"<Admission: {len(self)} outside, {self._room!r}>"
