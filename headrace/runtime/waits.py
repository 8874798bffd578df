"""Waits: the lanes of a partition in which an event waits in place for its next attempt, and until when.

A charge becomes a timer only when the settlement that writes it down is durable: until then its lane stands still.
Times are milliseconds since 1970.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count

from headrace.runtime.lanes import Lane

_Charges = list[tuple[int, Lane]]


class Waits:
    """Those of one partition. `charge -> settling -> settled -> release`."""

    def __init__(self) -> None:
        self._charged: _Charges = []
        self._settling: _Charges = []
        self._timers: list[tuple[int, int, Lane]] = []
        self._turns = count()  # of equal due times, the first charged goes first

    def charge(self, due_ms: int, lane: Lane) -> None:
        """An event of the lane was charged, and is due then."""
        self._charged.append((due_ms, lane))

    def settling(self) -> None:
        """What was charged until now is being written down."""
        self._settling, self._charged = self._charged, []

    def settled(self) -> None:
        """It is durable."""
        for due_ms, lane in self._settling:
            self.add(due_ms, lane)
        self._settling = []

    def add(self, due_ms: int, lane: Lane) -> None:
        """An event of the lane, charged durably, is due then."""
        heappush(self._timers, (due_ms, next(self._turns), lane))

    def release(self, now_ms: int) -> list[Lane]:
        """The lanes of which one event is due, in the order of their times; one that has several may come again."""
        due = []
        while self._timers and self._timers[0][0] <= now_ms:
            due.append(heappop(self._timers)[2])
        return due

    @property
    def next_ms(self) -> int | None:
        """When the next one is due; None if that depends on a settlement, or nothing waits."""
        return self._timers[0][0] if self._timers else None

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that wait, each once."""
        timed = [lane for _, _, lane in self._timers]
        return list(dict.fromkeys([*timed, *(lane for _, lane in (*self._charged, *self._settling))]))

    def hasten(self, hastened: Lane, now_ms: int) -> None:
        """What waits in a lane is due now, as soon as its charge is durable."""
        self._timers = [(now_ms if lane is hastened else due_ms, turn, lane) for due_ms, turn, lane in self._timers]
        heapify(self._timers)
        for charges in (self._charged, self._settling):
            charges[:] = [(now_ms if lane is hastened else due_ms, lane) for due_ms, lane in charges]

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._timers) + len(self._charged) + len(self._settling)

    def __repr__(self) -> str:
        undurable = len(self._charged) + len(self._settling)
        return f"<Waits: {len(self)} events, {undurable} of them until a settlement is durable>"
