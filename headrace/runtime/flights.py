"""Flights: the events of one partition that are in workers, by the chunk they were handed out in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from headrace.runtime.lanes import Lane
from headrace.runtime.ports import Record
from headrace.runtime.terms import Terms


@dataclass(slots=True)
class Flight:
    """A chunk in a worker: its events by index, the terms it was handed out under, and the indexes not reported yet."""

    events: list[tuple[Lane, Record]]
    generation: int
    terms: Terms
    open: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.open = set(range(len(self.events)))


class Flights:
    """The flights of one partition. Falsy when none is under way."""

    def __init__(self) -> None:
        self._by_chunk: dict[int, Flight] = {}

    def take_off(self, chunk: int, events: list[tuple[Lane, Record]], generation: int, terms: Terms) -> None:
        """These events are handed out under the number `chunk`."""
        self._by_chunk[chunk] = Flight(events, generation, terms)

    def land(self, chunk: int, indexes: Collection[int]) -> Flight:
        """These events of a chunk have come back; its flight."""
        flight = self._by_chunk[chunk]
        flight.open.difference_update(indexes)
        if not flight.open:
            del self._by_chunk[chunk]
        return flight

    def __getitem__(self, chunk: int) -> Flight:
        """The flight of a chunk of which some event is still in its worker."""
        return self._by_chunk[chunk]

    def has(self, chunk: int, index: int | None = None) -> bool:
        """Whether some event of that chunk, or the one at `index`, is still in a worker."""
        flight = self._by_chunk.get(chunk)
        return flight is not None and (index is None or index in flight.open)

    def __len__(self) -> int:
        """How many chunks are in workers."""
        return len(self._by_chunk)

    def __repr__(self) -> str:
        return f"<Flights: {len(self)} chunks in workers>"
