"""Rate: how many events may start now. A token bucket, and a plain state machine: the time comes in.

In any span of t seconds at most `burst + rate * t` events start. A token is there for each event that may start at
once; `burst` is as many as a tenth of a second brings, and at least one: what was not used for longer is not saved up.
In batches it is at least a full one, and it is waited for as many as come while a batch fills.
"""

from __future__ import annotations

from headrace.sandbox.manifest import BatchPolicy

BURST_S = 0.1
_STEP_S = 0.01  # it is not worth looking more often


class Rate:
    """At most `per_second` starts in a second. Times are seconds on one clock; one that goes back brings nothing."""

    def __init__(self, per_second: float, now: float, batch: BatchPolicy | None = None) -> None:
        self.per_second = per_second
        self.burst = max(1.0, per_second * BURST_S, batch.size if batch else 0)
        self._least = 1 if batch is None else int(max(1, min(batch.size, per_second * batch.wait)))
        self._tokens = self.burst
        self._at = now

    def allowed(self, now: float) -> int:
        """How many events may start now."""
        self._pass(now)
        return int(self._tokens) if self._tokens >= self._least else 0

    def take(self, events: int, now: float) -> None:
        """So many start, no more than are allowed."""
        self._pass(now)
        self._tokens -= events

    def next_in(self, now: float) -> float:
        """The seconds after which it is worth asking again: one or more may start then."""
        self._pass(now)
        worth = max(self._least, self.per_second * _STEP_S)
        return max(0.0, (worth - self._tokens) / self.per_second)

    def _pass(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now

    def __repr__(self) -> str:
        return f"<Rate of {self.per_second:g} a second: {self._tokens:.1f} of {self.burst:g} may start>"
