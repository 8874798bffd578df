"""Outcomes on their way to the parent: sent at the end of a chunk, or soon after they are known.

Two threads send: the main one, and the watch while the main one is busy in a handler. One lock covers what is pending
and the socket, so that reports go out whole and in order.
"""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Generic, TypeVar

from headrace.sandbox.headers import record_size
from headrace.sandbox.outcome import NOT_RUN, Done, Outcome, Skipped
from headrace.sandbox.wire import Report, frame

DELAY_NS = 5_000_000  # known this long, an outcome is sent without waiting for its chunk to end
_FULL = 1 << 20  # bytes; one more outcome of the largest size (4 MiB of emits) still fits a report
_FAILURE = 24 << 10

_Known = tuple[int, int, Outcome | None, int]  # chunk, index, and how long it took in nanoseconds
_place = itemgetter(0, 1)

T = TypeVar("T")


class _Gathering(ABC, Generic[T]):
    """What is known and was not sent yet. `pending_since_ns` is 0 when there is nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self.pending_since_ns = 0
        self._connection = connection
        self._lock = threading.Lock()
        self._pending: list[T] = []
        self._known_ns = 0
        self._from_ns = 0
        self._weight = 0

    def flush(self) -> None:
        """Send what is pending, if anything."""
        with self._lock:
            # First forget, then look: what the main thread adds meanwhile is then counted twice rather than not at all.
            self.pending_since_ns = self._weight = 0
            known = self._pending[:]
            if not known:
                return
            del self._pending[: len(known)]
            spent_ns = max(0, self._known_ns - self._from_ns)
            self._from_ns = max(self._from_ns, self._known_ns)
            self._connection.sendall(b"".join(map(frame, self._reports(known, spent_ns))))

    def _gather(self, known: T, outcome: Outcome | None, now_ns: int) -> None:
        self._known_ns = now_ns
        self._pending.append(known)
        if not self.pending_since_ns:
            self.pending_since_ns = now_ns
        if outcome is not None:
            self._weight += _weight(outcome)
        if now_ns - self.pending_since_ns >= DELAY_NS or self._weight > _FULL:
            self.flush()

    @abstractmethod
    def _reports(self, known: list[T], spent_ns: int) -> list[Report]:
        """What is pending, as reports. Called under the lock."""


class Reports(_Gathering["Outcome | None"]):
    """The outcomes of the current chunk that were not sent yet."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._chunk = 0
        self._sent = 0

    def begin(self, chunk: int, now_ns: int) -> None:
        """A chunk begins; everything of the one before was sent."""
        self._chunk, self._sent, self._from_ns = chunk, 0, now_ns

    def add(self, outcome: Outcome | None, now_ns: int) -> None:
        """The outcome of the chunk's next event. By the main thread only."""
        self._gather(outcome, outcome, now_ns)

    def add_all(self, outcomes: Sequence[Outcome | None], now_ns: int) -> None:
        """The outcomes of all events of the chunk, which were handled as one batch."""
        for outcome in outcomes:
            self.add(outcome, now_ns)

    def _reports(self, known: list[Outcome | None], spent_ns: int) -> list[Report]:
        report = Report(self._chunk, self._sent, known, spent_ns, self._durations(len(known)))
        self._sent += len(known)
        return [report]

    def _durations(self, _count: int) -> list[int]:
        """How long the first `count` events took of which that was not said yet; called under the lock."""
        return []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of chunk {self._chunk}: {self._sent} sent, {len(self._pending)} pending>"


class TimedReports(Reports):
    """The same, and how long each event took: from the end of the one before it to its own."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._spent: list[int] = []
        self._ended_ns = 0

    def begin(self, chunk: int, now_ns: int) -> None:
        """See `Reports.begin`."""
        super().begin(chunk, now_ns)
        self._ended_ns = now_ns

    def add(self, outcome: Outcome | None, now_ns: int) -> None:
        """See `Reports.add`."""
        # Before the outcome: whoever sends that meanwhile finds this.
        self._spent.append(now_ns - self._ended_ns)
        self._ended_ns = now_ns
        super().add(outcome, now_ns)

    def add_all(self, outcomes: Sequence[Outcome | None], now_ns: int) -> None:
        """See `Reports.add_all`. All of them took as long as the batch did."""
        began_ns = self._ended_ns
        for outcome in outcomes:
            self._ended_ns = now_ns if outcome is NOT_RUN else began_ns
            self.add(outcome, now_ns)

    def _durations(self, count: int) -> list[int]:
        spent, self._spent[:count] = self._spent[:count], []
        return spent


class ScatteredReports(_Gathering[_Known]):
    """The same for a worker that runs several events at once: outcomes of many chunks, in the order they are known."""

    def __init__(self, connection: socket.socket, *, timed: bool = False) -> None:
        super().__init__(connection)
        self._timed = timed

    def begin(self, now_ns: int) -> None:
        """Events run from now on, after there were none."""
        self._from_ns = max(self._from_ns, now_ns)

    def add(self, chunk: int, index: int, outcome: Outcome | None, now_ns: int, spent_ns: int = 0) -> None:
        """The outcome of an event. By the main thread only."""
        self._gather((chunk, index, outcome, spent_ns), outcome, now_ns)

    def _reports(self, known: list[_Known], spent_ns: int) -> list[Report]:
        """A report for each run of neighbours."""
        share = spent_ns // len(known)
        return [self._report(chunk, first, run, share) for chunk, first, run in _runs(known)]

    def _report(self, chunk: int, first: int, run: list[_Known], share: int) -> Report:
        each_ns = [spent_ns for *_, spent_ns in run] if self._timed else []
        return Report(chunk, first, [outcome for _, _, outcome, _ in run], share * len(run), each_ns)

    def __repr__(self) -> str:
        return f"<ScatteredReports: {len(self._pending)} pending>"


def _runs(known: list[_Known]) -> Iterator[tuple[int, int, list[_Known]]]:
    """What is known as runs of neighbours: chunk, index of the first, all of them."""
    known.sort(key=_place)
    chunk, first, run = known[0][0], known[0][1], [known[0]]
    for one in known[1:]:
        if one[0] != chunk or one[1] != first + len(run):
            yield chunk, first, run
            chunk, first, run = one[0], one[1], []
        run.append(one)
    yield chunk, first, run


def _weight(outcome: Outcome) -> int:
    if isinstance(outcome, Done):
        weight = 0
        for emit in outcome.emits:  # a loop, because most have one
            weight += record_size(emit.key, emit.value, emit.headers)
        return weight
    return 256 if isinstance(outcome, Skipped) else _FAILURE
