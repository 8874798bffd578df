"""Pacing: how many events a chunk holds, so that a chunk is about `TARGET_S` of work.

Slow handlers get one event at a time, so that nothing waits behind them that another worker could take; fast ones get
enough that the hop between processes does not count. A worker that runs several at once gets at least that many.
"""

from __future__ import annotations

TARGET_S = 0.025
MOST = 512
DEEPEST = 3

_FIRST_GUESS_S = 0.005
_WEIGHT = 0.2


class Pacing:
    """A running estimate of the seconds one event takes, and the chunk size that follows from it.

    With `batch` a chunk is a batch: it has up to so many events, however long that takes.
    """

    def __init__(self, concurrency: int = 1, batch: int | None = None) -> None:
        self._concurrency = concurrency
        self._batch = batch
        self.seconds_per_event = _FIRST_GUESS_S

    def observe(self, events: int, seconds: float) -> None:
        """`events` took a worker `seconds`. Each of them counts, so that many at once are believed sooner."""
        if events > 0:
            seconds_per_event = max(seconds / events, 1e-7)
            weight = 1 - (1 - _WEIGHT) ** events
            self.seconds_per_event += weight * (seconds_per_event - self.seconds_per_event)

    @property
    def size(self) -> int:
        """Events for the next chunk."""
        if self._batch is not None:
            return self._batch
        return max(self._concurrency, min(MOST, int(TARGET_S / self.seconds_per_event)))

    def has_room(self, chunks: int, events: int) -> bool:
        """Whether a worker with so many chunks and events in it can take another chunk.

        Some behind the running one hide the hop, unless events are slow. Slow events of several chunks must not keep a
        worker that runs many at once from having as many as it can run.
        """
        if self._batch is not None:
            is_quick = self.seconds_per_event * self._batch < TARGET_S
            return chunks < self._concurrency + (1 if is_quick else 0)
        deepest = 1 if self.size == 1 else DEEPEST
        return chunks < deepest or (self._concurrency > 1 and events < 2 * self._concurrency)

    def __repr__(self) -> str:
        return f"<Pacing: {self.seconds_per_event * 1e3:.3f} ms an event, chunks of {self.size}>"
