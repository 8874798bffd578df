"""The tickets of one producer: which of its appends have no answer yet, and which may be made again."""

from __future__ import annotations

from headrace.functions.identity import fresh_id
from headrace.runtime.ports import Ticket

_MOST_LOST = 1000

Name = tuple[str, tuple[str, ...]]
"""A topic and the ids of the events, all of them the caller's own: what an append is recognised by."""


class Tickets:
    """Numbers appends. One whose answer was lost keeps its number for when it is made again."""

    def __init__(self) -> None:
        self._producer = fresh_id()
        self._next = 0
        self._open: dict[int, None] = {}  # ascending
        self._lost: dict[Name, int] = {}

    def __repr__(self) -> str:
        return f"<Tickets of {self._producer}: {len(self._open)} without an answer, {len(self._lost)} of them lost>"

    def take(self, name: Name | None) -> Ticket:
        """A ticket: the old one if the answer to this very append was lost."""
        number = self._lost.pop(name, None) if name else None
        if number is None:
            number = self._next
            self._next += 1
            self._open[number] = None
        return Ticket(self._producer, number, next(iter(self._open)))

    def answered(self, ticket: Ticket) -> None:
        """It was answered, or refused: it is not made again."""
        self._open.pop(ticket.number, None)

    def lost(self, ticket: Ticket, name: Name | None) -> None:
        """It may or may not have been written; it can be made again if it has a name."""
        if name is None:
            self.answered(ticket)
            return
        self._lost[name] = ticket.number
        if len(self._lost) > _MOST_LOST:
            self._open.pop(self._lost.pop(next(iter(self._lost))), None)
