"""A clock that stands still until it is told to go on."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

_NS = 1_000_000_000


class VirtualClock:
    """Implements `ports.Clock`: the same calls give the same times and the same order of callbacks, always.

    Kept in whole nanoseconds, so that a timer set `x` milliseconds ahead finds `now_ms()` exactly `x` later. Callbacks
    run within `advance`, on the caller's stack, so call it on the event loop that is used; tasks that they wake run at
    the loop's next turn.
    """

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = start_ms
        self._now = 0
        self._set = 0
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._live: set[int] = set()

    def now_ms(self) -> int:
        """Virtual milliseconds since 1970."""
        return self._start_ms + self._now // 1_000_000

    def monotonic(self) -> float:
        """Virtual seconds since this clock was made."""
        return self._now / _NS

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when `monotonic()` reaches `when`, in the next `advance` if it has; the returned callable cancels.

        Callbacks of one moment run in the order they were set.
        """
        self._set += 1
        number = self._set
        self._live.add(number)
        heappush(self._timers, (max(round(when * _NS), self._now), number, callback))
        return lambda: self._live.discard(number)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: what falls due is called at its own time, also what is set meanwhile.

        To give tasks their turn between two timers, advance to `next_due()` step by step.
        """
        target = self._now + max(0, round(seconds * _NS))
        while (due := self._next()) is not None and due <= target:
            _, number, callback = heappop(self._timers)
            self._live.discard(number)
            self._now = max(self._now, due)
            callback()
        self._now = max(self._now, target)

    def next_due(self) -> float | None:
        """When the next callback is due, on `monotonic()`; None if none is set."""
        due = self._next()
        return None if due is None else due / _NS

    def _next(self) -> int | None:
        while self._timers and self._timers[0][1] not in self._live:
            heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def __repr__(self) -> str:
        return f"<VirtualClock at {self.monotonic():.3f} s, {len(self._live)} timers set>"
