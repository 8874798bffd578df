"""Batches in a simulated worker: all events of a chunk at once, by the rules of `headrace.sandbox.batches`.

An event that is too late or hopeless makes its batch fail as a whole; other failures are told by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.sandbox.outcome import Divided, Done, NotRun, Outcome, Rejected, Skipped
from headrace.sandbox.wire import Task
from simulation.work import Work, lane_of
from simulation.worker import DEATHS, SimulatedWorker

if TYPE_CHECKING:
    from simulation.session import Session
    from simulation.witness import Witness

_ENDED_WELL = (Done, Skipped, Rejected)
_NOT_RUN = NotRun()
_UNSEEN = {"null", "skip", "reject"}  # these do not reach the handler
_WHOLE = {"timeout", "hopeless"}  # nobody is named


class Batches:
    """Sees every batch that runs. What of it is not charged has not run, as far as promises go."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def begun(self, worker: SimulatedWorker, session: Session, tasks: list[Task]) -> None:
        """A batch starts."""
        witness, offsets = self._witness, [task.offset for task in tasks]
        lives = [witness.lives.of(session, task) for task in tasks]
        for life, task in zip(lives, tasks, strict=True):
            witness.starts.started(worker, session, task, [])
            session.pass_(life)  # the next of its lane may be in the same batch
        if session.stale:
            return
        if len(tasks) > 1 and any(task.attempt > 1 for task in tasks):
            witness.fail(f"attempts: {offsets} of {session} start together, and not all for the first time")
        if len({life.alone for life in lives}) > 1:
            witness.fail(f"attempts: {offsets} of {session} start together, and some are suspected of a crash")
        witness.saw("batch of several", len(tasks) > 1)

    def ended(self, session: Session, task: Task, outcome: Outcome | None) -> None:
        """An event of a batch has its outcome."""
        witness = self._witness
        life = witness.lives.of(session, task)
        mine = not session.stale and life.session is session
        if mine and not (outcome is None or isinstance(outcome, _ENDED_WELL)):
            session.go_back(life)
        if not isinstance(outcome, NotRun | Divided):
            witness.ends.ran(session, task, outcome)
            return
        life.excuses += 1
        witness.saw("batch divided" if isinstance(outcome, Divided) else "passed over in a batch")
        if mine:
            life.state = "lost"

    def __repr__(self) -> str:
        return "<Batches>"


class BatchWorker(SimulatedWorker):
    """A worker that runs one batch at a time."""

    def _run(self, work: Work) -> None:
        if work.next:
            return
        work.next = len(work.chunk.tasks)
        if self._recalled >= work.nth:
            work.outcomes.update(dict.fromkeys(range(work.next), _NOT_RUN))
            return
        work.begin(0, self._loop.now)
        tasks = work.chunk.tasks
        self._witness.batches.begun(self, work.session, tasks)
        plays = [self._pool.handler.attempt(work.chunk, task) for task in tasks]
        if deaths := [(seconds, kind) for seconds, kind, _ in plays if kind in DEATHS]:
            seconds, kind = min(deaths)
            call, *arguments = DEATHS[kind]
            self._process.call_at(self._loop.now + seconds, call, self, *arguments)
            return
        at = self._loop.now + max(seconds for seconds, _, _ in plays)
        self._process.call_at(at, self._finish_batch, work, [(kind, outcome) for _, kind, outcome in plays])

    def _finish_batch(self, work: Work, plays: list[tuple[str, Outcome | None]]) -> None:
        work.running.clear()
        for index, (task, outcome) in enumerate(zip(work.chunk.tasks, self._outcomes(work, plays), strict=True)):
            work.outcomes[index] = outcome
            self._witness.batches.ended(work.session, task, outcome)
        self._advance()

    def _outcomes(self, work: Work, plays: list[tuple[str, Outcome | None]]) -> list[Outcome | None]:
        outcomes = [outcome for _, outcome in plays]
        seen = [index for index, (kind, _) in enumerate(plays) if kind not in _UNSEEN]
        whole = [index for index in seen if plays[index][0] in _WHOLE]
        if whole and len(seen) > 1:
            for nth, index in enumerate(seen):
                outcomes[index] = Divided(0 if nth < (len(seen) + 1) // 2 else 1)
        blocked: set[object] = set()
        for index, (task, outcome) in enumerate(zip(work.chunk.tasks, outcomes, strict=True)):
            lane = lane_of(self._spec.order, task)
            if lane in blocked:
                outcomes[index] = outcome if isinstance(outcome, Divided) else _NOT_RUN
            elif outcome is not None and not isinstance(outcome, _ENDED_WELL):
                blocked.add(lane)
        return outcomes
