"""Pacing: how many events a chunk holds, so that a chunk is about `TARGET_S` of work.

Slow handlers get one event at a time, so that nothing waits behind them that another worker could take; fast ones get
enough that the hop between processes does not count.
"""

from __future__ import annotations

TARGET_S = 0.025
MOST = 256
DEEPEST = 3

_FIRST_GUESS_S = 0.005
_WEIGHT = 0.2


class Pacing:
    """A running estimate of the seconds one event takes, and the chunk size that follows from it."""

    def __init__(self) -> None:
        self.seconds_per_event = _FIRST_GUESS_S

    def observe(self, events: int, seconds: float) -> None:
        """`events` took a worker `seconds`."""
        if events > 0:
            seconds_per_event = max(seconds / events, 1e-7)
            self.seconds_per_event += _WEIGHT * (seconds_per_event - self.seconds_per_event)

    @property
    def size(self) -> int:
        """Events for the next chunk."""
        return max(1, min(MOST, int(TARGET_S / self.seconds_per_event)))

    @property
    def depth(self) -> int:
        """Chunks to have in one worker at once: one behind the running one hides the hop, unless events are slow."""
        return 1 if self.size == 1 else DEEPEST

    def __repr__(self) -> str:
        return f"<Pacing: {self.seconds_per_event * 1e3:.3f} ms an event, chunks of {self.size}, {self.depth} deep>"
