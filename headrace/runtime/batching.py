"""Batching: which events of a partition run together, and when. Plain state beside its lanes: the time comes in.

A batch is handed out as soon as it is full, or `wait` after the first of its events could have run, whatever there is
then. One that failed as a whole is divided: its halves are *parts* (see `lanes`), each run again without anything else
in it, and without waiting to fill. An event that has failed is a part of its own for good, so that all events of a
batch are at the same attempt, and nobody is charged with another one's failure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from headrace.runtime.flights import Flight
from headrace.runtime.lanes import Lane, Lanes
from headrace.runtime.ports import Record
from headrace.sandbox.manifest import BatchPolicy
from headrace.sandbox.outcome import Divided, Outcome, TimedOut, half_of


class Batching:
    """The batches of one partition. `is_due`: the next one is to be handed out, as of the last look."""

    def __init__(self, policy: BatchPolicy, lanes: Lanes) -> None:
        self.is_due = False
        self._lanes = lanes
        self._size = policy.size
        self._wait_ms = round(policy.wait * 1000)
        self._since_ms: int | None = None
        self._now_ms = 0

    # -- when ---------------------------------------------------------------------------------------------------------

    def look(self, now_ms: int | None = None) -> int | None:
        """Look at the lanes; without a time, at that of the last look.

        Returns when a batch that is not due yet will be (milliseconds since 1970); None if none waits for its time.
        """
        now_ms = self._now_ms if now_ms is None else now_ms
        self._now_ms = now_ms
        if not self._lanes.ready:
            self.is_due, self._since_ms = False, None
            return None
        if self._since_ms is None or now_ms < self._since_ms:  # also if the clock was set back
            self._since_ms = now_ms
        due_ms = self._since_ms + self._wait_ms
        self.is_due = now_ms >= due_ms or self._lanes.has_batch(self._size)
        return None if self.is_due else due_ms

    # -- who with whom ------------------------------------------------------------------------------------------------

    def divide_as_told(
        self, chunk: int, events: Sequence[tuple[Lane, Record]], outcomes: Sequence[Outcome | None]
    ) -> None:
        """A worker divided the batch that chunk was."""
        for (_, record), outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Divided):
                self._join(record.offset, chunk, outcome.half)

    def lose(
        self, chunk: int, flight: Flight, guilty: Mapping[int, Outcome]
    ) -> tuple[Mapping[int, Outcome], Collection[int]]:
        """A worker died under a batch: who pays, by index, and who is to run alone.

        A single event pays if it is proven `guilty`; else the batch is divided. A timeout names its batch whatever else
        was running, so that its halves need not be alone in their worker.
        """
        still_open = sorted(flight.open)
        outcome = next(iter(guilty.values()), None)
        if len(still_open) == 1 and outcome is not None:
            return {still_open[0]: outcome}, ()
        for nth, index in enumerate(still_open):
            self._join(flight.events[index][1].offset, chunk, half_of(nth, len(still_open)))
        return {}, () if isinstance(outcome, TimedOut) else still_open

    def set_apart(self, offset: int) -> None:
        """An event has failed."""
        self._lanes.parts[offset] = -1 - offset

    def _join(self, offset: int, chunk: int, half: int) -> None:
        self._lanes.parts[offset] = 2 * chunk + half  # a name that no other part has: chunks are numbered

    def __repr__(self) -> str:
        state = "due" if self.is_due else "empty" if self._since_ms is None else f"filling since {self._since_ms} ms"
        return f"<Batching of {self._size}: {state}, {len(self._lanes.parts)} events in parts>"
