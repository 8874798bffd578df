"""What a worker may report: nothing but outcomes of events it was given, each once; in order if it runs one at a time.

The worker's end of the socket is within reach of the handler, so a report is checked before anything acts on it. What
these checks let through can only be wrong about the function's own events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from headrace.functions.codec import MAX_EVENT_BYTES
from headrace.functions.errors import SandboxError
from headrace.sandbox.headers import by_name
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import (
    Crashed,
    Divided,
    Done,
    Emitted,
    Failed,
    Failure,
    Outcome,
    Postponed,
    Rejected,
    Skipped,
    TimedOut,
)
from headrace.sandbox.wire import Chunk, Outlet, Report

_LONGEST = 64 << 10  # characters of a failure, well above what a worker cuts it to
_DAY_NS = 86_400 * 10**9
_LAST_MS = 1 << 62


class Flights:
    """The chunks that are in one worker.

    `outlets` are the topics it may emit to, `rules` how many retry rules there are. `in_order` says that a
    chunk's outcomes come in its order: the worker runs one event, or batch, at a time.
    """

    def __init__(
        self, outlets: Mapping[str, Outlet], *, rules: int = 1, in_order: bool = True, batches: bool = False
    ) -> None:
        self.events = 0
        self.chunks = 0
        self._outlets = outlets
        self._rules = rules
        self._in_order = in_order
        self._batches = batches
        self._flying: dict[int, _Flight] = {}

    @classmethod
    def of(cls, spec: FunctionSpec | None, outlets: Mapping[str, Outlet]) -> Flights:
        """What a worker of that function, or of none, may report."""
        if spec is None:
            return cls(outlets)
        return cls(outlets, rules=len(spec.retry), in_order=spec.concurrency == 1, batches=spec.batch is not None)

    def add(self, chunk: Chunk) -> None:
        """A chunk was sent."""
        self._flying[chunk.id] = _Flight(len(chunk.tasks))
        self.events += len(chunk.tasks)
        self.chunks += 1

    def accept(self, report: Report) -> None:
        """Take a report off what is in flight. Raises `SandboxError` for one that no honest worker sends."""
        flight = self._flying.get(report.chunk, _NOT_FLYING)
        after = report.first + len(report.outcomes)
        if not flight.allows(report.first, after, in_order=self._in_order):
            raise SandboxError(
                f"a report on events {report.first} to {after - 1} of chunk {report.chunk}, not in flight"
            )
        _check_durations(report)
        if any(report.outcomes):
            for outcome in report.outcomes:
                if outcome is not None:
                    if type(outcome) is Divided and (not self._batches or flight.count < 2):
                        raise SandboxError("half of a batch that cannot be divided")
                    self._check(outcome)
        self.events -= len(report.outcomes)
        flight.land(report.first, after)
        if flight.first == flight.count:
            del self._flying[report.chunk]

    def has(self, chunk: int, index: int) -> bool:
        """Whether that event is in the worker and not reported."""
        return self._flying.get(chunk, _NOT_FLYING).has(index)

    def _check(self, outcome: Outcome) -> None:
        match outcome:
            case Done(emits):
                for emit in emits:
                    self._check_emit(emit)
            case Rejected(failure) | Failed(failure) | TimedOut(failure):
                _check_failure(failure)
            case Crashed():
                raise SandboxError("a crash, which no worker lives to report")
            case _:
                pass
        self._check_numbers(outcome)

    def _check_emit(self, emit: Emitted) -> None:
        outlet = self._outlets.get(emit.topic)
        if outlet is None or not 0 <= emit.partition < outlet.partitions:
            raise SandboxError(f"an emit to {emit.topic[:249]!r} partition {emit.partition}, which it may not write to")
        if len(emit.value or b"") > MAX_EVENT_BYTES or not 0 <= emit.timestamp <= _LAST_MS:
            raise SandboxError("an emit over the size limit, or of no possible time")
        try:
            by_name(emit.headers)
        except msgspec.DecodeError as error:
            raise SandboxError("an emit whose headers cannot be read") from error

    def _check_numbers(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed) and not 0 <= (outcome.rule or 0) < self._rules:
            raise SandboxError(f"a failure under retry rule {outcome.rule}, which there is not")
        if isinstance(outcome, Postponed) and not 0 <= outcome.seconds < math.inf:
            raise SandboxError(f"an event postponed by {outcome.seconds} s")
        if isinstance(outcome, Divided) and outcome.half not in {0, 1}:
            raise SandboxError(f"half {outcome.half} of a batch, of which there are two")
        if isinstance(outcome, Skipped) and len(outcome.reason) + len(outcome.type or "") > _LONGEST:
            raise SandboxError("a skip with a reason longer than any")

    def __repr__(self) -> str:
        return f"<Flights: {self.events} events of {len(self._flying)} chunks>"


def _check_durations(report: Report) -> None:
    if not 0 <= report.spent_ns <= _DAY_NS:
        raise SandboxError(f"a report that says it took {report.spent_ns} ns")
    if not report.each_ns:
        return
    if len(report.each_ns) != len(report.outcomes):
        raise SandboxError(f"a report with {len(report.each_ns)} durations for {len(report.outcomes)} events")
    if not all(0 <= spent_ns <= _DAY_NS for spent_ns in report.each_ns):
        raise SandboxError("a report with an impossible duration")


def _check_failure(failure: Failure) -> None:
    if len(failure.type) + len(failure.message) + len(failure.stack) + len(failure.fingerprint) > _LONGEST:
        raise SandboxError("a failure longer than any")


class _Flight:
    """A chunk in flight: all before index `first` was reported, and what is in `beyond`, further on."""

    __slots__ = ("beyond", "count", "first")

    def __init__(self, count: int) -> None:
        self.count = count
        self.first = 0
        self.beyond: set[int] = set()

    def has(self, index: int) -> bool:
        return self.first <= index < self.count and index not in self.beyond

    def allows(self, first: int, after: int, *, in_order: bool) -> bool:
        if not self.first <= first < after <= self.count or (in_order and first != self.first):
            return False
        return not self.beyond or self.beyond.isdisjoint(range(first, after))

    def land(self, first: int, after: int) -> None:
        if first != self.first:
            self.beyond.update(range(first, after))
            return
        self.first = after
        while self.first in self.beyond:
            self.beyond.remove(self.first)
            self.first += 1

    def __repr__(self) -> str:
        return f"<_Flight of {self.count}, {self.first} and {len(self.beyond)} beyond reported>"


_NOT_FLYING = _Flight(0)
