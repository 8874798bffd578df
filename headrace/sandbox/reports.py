"""Outcomes on their way to the parent: sent at the end of a chunk, or soon after they are known.

Two threads send: the main one, and the watch while the main one is busy in a handler. One lock covers what is pending
and the socket, so that reports go out whole and in order.
"""

from __future__ import annotations

import socket
import threading

from headrace.sandbox.outcome import Done, Outcome, Skipped
from headrace.sandbox.wire import Report, frame

DELAY_NS = 5_000_000  # known this long, an outcome is sent without waiting for its chunk to end
_FULL = 1 << 20  # bytes; one more outcome of the largest size (4 MiB of emits) still fits a report
_FAILURE = 24 << 10


class Reports:
    """The outcomes of the current chunk that were not sent yet. `pending_since_ns` is 0 when there are none."""

    def __init__(self, connection: socket.socket) -> None:
        self.pending_since_ns = 0
        self._connection = connection
        self._lock = threading.Lock()
        self._pending: list[Outcome | None] = []
        self._chunk = 0
        self._sent = 0
        self._known_ns = 0
        self._from_ns = 0
        self._weight = 0

    def begin(self, chunk: int, now_ns: int) -> None:
        """A chunk begins; everything of the one before was sent."""
        self._chunk, self._sent, self._from_ns = chunk, 0, now_ns

    def add(self, outcome: Outcome | None, now_ns: int) -> None:
        """The outcome of the chunk's next event. By the main thread only."""
        self._known_ns = now_ns
        self._pending.append(outcome)
        if not self.pending_since_ns:
            self.pending_since_ns = now_ns
        if outcome is not None:
            self._weight += _weight(outcome)
        if now_ns - self.pending_since_ns >= DELAY_NS or self._weight > _FULL:
            self.flush()

    def flush(self) -> None:
        """Send what is pending, if anything."""
        with self._lock:
            # First forget, then look: what the main thread adds meanwhile is then counted twice rather than not at all.
            self.pending_since_ns = self._weight = 0
            outcomes = self._pending[:]
            if not outcomes:
                return
            del self._pending[: len(outcomes)]
            report = Report(self._chunk, self._sent, outcomes, max(0, self._known_ns - self._from_ns))
            self._sent += len(outcomes)
            self._from_ns = max(self._from_ns, self._known_ns)
            self._connection.sendall(frame(report))

    def __repr__(self) -> str:
        return f"<Reports of chunk {self._chunk}: {self._sent} sent, {len(self._pending)} pending>"


def _weight(outcome: Outcome) -> int:
    if isinstance(outcome, Done):
        return sum(128 + len(e.key or b"") + len(e.value or b"") + len(e.headers) for e in outcome.emits)
    return 256 if isinstance(outcome, Skipped) else _FAILURE
