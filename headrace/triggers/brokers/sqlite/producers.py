"""What producers were answered, kept with what they appended, so that an append made again appends nothing.

One row for each producer has all answers that it may still ask for; it names what it has (`Ticket.answered`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from headrace.runtime.ports import Position, Ticket

_LOOK = "SELECT answers FROM producer WHERE id = ?"
_KEEP = """
INSERT INTO producer(id, born, at, answers) VALUES (?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET at = excluded.at, answers = excluded.answers
"""
_FORGET = "DELETE FROM producer WHERE born < ? AND at < ?"
_DAY_MS = 86_400_000

# For each topic in turn: partition, offset, partition, offset, ...
_Answer = list[tuple[str, list[int]]]

_decoder = msgspec.msgpack.Decoder(dict[int, _Answer])
_topic = attrgetter("topic")


class Answers:
    """The answers as one transaction sees and changes them."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._known: dict[str, dict[int, _Answer]] = {}
        self._changed: dict[str, int] = {}  # the producers, each with what it has its answers up to

    def __repr__(self) -> str:
        return f"<Answers: {len(self._known)} producers known, {len(self._changed)} changed>"

    def given(self, ticket: Ticket) -> list[Position] | None:
        """What was answered to this append, if it was made before."""
        answer = self._of(ticket.producer).get(ticket.number)
        return None if answer is None else _unpacked(answer)

    def keep(self, ticket: Ticket, positions: Sequence[Position]) -> None:
        """This is the answer to it."""
        self._of(ticket.producer)[ticket.number] = _packed(positions)
        self._changed[ticket.producer] = max(ticket.answered, self._changed.get(ticket.producer, 0))

    def flush(self) -> None:
        """Write what changed."""
        for producer, answered in self._changed.items():
            kept = {number: answer for number, answer in self._known[producer].items() if number >= answered}
            self._connection.execute(_KEEP, (producer, self._now_ms, self._now_ms, msgspec.msgpack.encode(kept)))
            self._known[producer] = kept
        self._changed.clear()

    def _of(self, producer: str) -> dict[int, _Answer]:
        if (answers := self._known.get(producer)) is None:
            row = self._connection.execute(_LOOK, (producer,)).fetchone()
            answers = self._known[producer] = _decoder.decode(row[0]) if row else {}
            if row is None:  # a new one makes room for itself
                day_ago_ms = self._now_ms - _DAY_MS
                self._connection.execute(_FORGET, (day_ago_ms, day_ago_ms))
        return answers


def _packed(positions: Sequence[Position]) -> _Answer:
    if len(positions) == 1:
        ((topic, partition, offset),) = positions
        return [(topic, [partition, offset])]
    return [(topic, [n for one in some for n in one[1:]]) for topic, some in groupby(positions, _topic)]


def _unpacked(answer: _Answer) -> list[Position]:
    return [
        Position(topic, *place) for topic, numbers in answer for place in zip(numbers[::2], numbers[1::2], strict=True)
    ]
