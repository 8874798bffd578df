"""Limits: the shipped ones are for thousands of events; a simulation makes them small enough to be met."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from random import Random
from unittest.mock import patch

from headrace.runtime import dispatch, shard, subscription

FETCH = 8
MOST_EVENTS = 16
NEVER = 1000
TIGHT = ((2, 4, 200), (4, 8, 260), (FETCH, MOST_EVENTS, 330), (16, 48, 650), (4, 96, 1100), (4, 96, 1100))
"""Narrow limits: of a fetch, of what is held, and of progress in bytes, which has no room for all of that."""

WIDE = (*TIGHT, *[(FETCH, MOST_EVENTS, 4096)] * 10)


@dataclass(frozen=True)
class Limits:
    """How much may be fetched at once, held of a partition, wait in it, and be written as its progress (in bytes)."""

    fetch: int
    most_events: int
    most_waiting: int
    progress: int | None

    @classmethod
    def draw(cls, random: Random, *, narrow: bool, aside: bool) -> Limits:
        """The limits of one scenario. Narrow ones are met when most of what is held waits to be tried again.

        What waits aside does so only where progress has a limit, which it then hardly meets.
        """
        kinds = TIGHT if narrow else WIDE if aside else [(FETCH, MOST_EVENTS, None)]
        fetch, most_events, progress = random.choice(kinds)
        return cls(fetch, most_events, NEVER if narrow else random.choice([NEVER, NEVER, 3, 6]), progress)

    @property
    def most_held(self) -> int:
        """More events of a partition than this are never held."""
        return self.most_events - 1 + self.fetch

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The shipped code keeps these limits instead of its own."""
        chunk_ids = count(1)  # they come into the trace
        with (
            patch.object(dispatch, "_chunk_ids", chunk_ids),
            patch.object(subscription, "FETCH", self.fetch),
            patch.object(subscription, "MOST_EVENTS", self.most_events),
            patch.object(shard, "MOST_HELD_EVENTS", self.most_waiting),
        ):
            yield
