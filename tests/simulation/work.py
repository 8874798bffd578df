"""Work: a chunk in a worker, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.sandbox.outcome import Done, NotRun, Outcome, Rejected, Skipped
from headrace.sandbox.process import Death
from headrace.sandbox.wire import Chunk, Report, Task

if TYPE_CHECKING:
    from simulation.session import Session

_ENDED_WELL = (Done, Skipped, Rejected)
_NOT_RUN = NotRun()


def lane_of(order: str, task: Task) -> object:
    """As `headrace.sandbox.worker` has it."""
    if order == "partition":
        return None
    return task.offset if order == "none" or task.key is None else task.key


@dataclass(eq=False)
class Work:
    """A chunk in a worker. `outcomes` are those not sent in a report yet; `nth` is its number in that worker."""

    chunk: Chunk
    session: Session
    nth: int
    order: str
    next: int = 0
    running: dict[int, object] = field(default_factory=dict)  # with their lanes
    started: dict[int, float] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)  # told by a report that has arrived
    sent: int = 0  # how many were sent in reports
    outcomes: dict[int, Outcome | None] = field(default_factory=dict)
    blocked: dict[object, int] = field(default_factory=dict)

    def busy(self, index: int) -> bool:
        """Whether another event of the same lane is running."""
        return self._lane(index) in self.running.values()

    def pass_over(self, index: int, *, recalled: bool) -> bool:
        """Whether this event is answered `NotRun`: it was recalled, or one before it in its lane did not end well."""
        task = self.chunk.tasks[index]
        if recalled or self.blocked.get(self._lane(index), -1) >= task.epoch:
            self.outcomes[index] = _NOT_RUN
            return True
        return False

    def begin(self, index: int, now: float) -> None:
        """An event runs."""
        self.running[index] = self._lane(index)
        self.started[index] = now

    def end(self, index: int, outcome: Outcome | None) -> None:
        """It has run."""
        lane = self.running.pop(index)
        self.outcomes[index] = outcome
        if outcome is not None and not isinstance(outcome, _ENDED_WELL):
            self.blocked[lane] = self.chunk.tasks[index].epoch

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs or will."""
        return len(self.outcomes) + self.sent >= len(self.chunk.tasks)

    @property
    def all_sent(self) -> bool:
        """Whether everything of it has been sent in reports."""
        return self.sent == len(self.chunk.tasks)

    def reports(self) -> Iterator[tuple[int, list[Outcome | None]]]:
        """What is known and not sent: the first index and the outcomes of each run of consecutive events."""
        while self.outcomes:
            first = min(self.outcomes)
            run: list[Outcome | None] = []
            while first + len(run) in self.outcomes:
                run.append(self.outcomes.pop(first + len(run)))
            self.sent += len(run)
            yield first, run

    def arrived(self, report: Report) -> Iterator[tuple[Task, Outcome | None]]:
        """A report of it has arrived; each event and its outcome."""
        for index, outcome in enumerate(report.outcomes, report.first):
            self.told.add(index)
            yield self.chunk.tasks[index], outcome

    @property
    def done_with(self) -> bool:
        """Whether all of it was told."""
        return len(self.told) == len(self.chunk.tasks)

    def late(self, since: float) -> list[tuple[int, int]]:
        """Events that run and were started at `since` or before."""
        return [(self.chunk.id, index) for index in self.running if self.started[index] <= since]

    def _lane(self, index: int) -> object:
        return lane_of(self.order, self.chunk.tasks[index])


def death_of(works: Sequence[Work], reason: str, detail: str, since: float) -> Death:
    """The death of a worker that has these; to blame for a timeout is what was started at `since` or before."""
    running = sorted((work.chunk.id, index) for work in works for index in work.running)
    late = [one for work in works for one in work.late(since)] if reason == "timeout" else []
    return Death(reason, detail, tuple(running), (), tuple(late))  # type: ignore[arg-type]
