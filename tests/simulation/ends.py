"""Ends: how attempts end, in the worker, and as the runtime learns it. What must follow is reckoned here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.sandbox.manifest import FunctionSpec, RetryPolicy
from headrace.sandbox.outcome import (
    Divided,
    Done,
    Failed,
    NotRun,
    Outcome,
    Postponed,
    Rejected,
    Skipped,
    TimedOut,
)
from headrace.sandbox.process import Death
from headrace.sandbox.wire import Task
from simulation.census import name_of
from simulation.life import Life
from simulation.session import Ending, Session

if TYPE_CHECKING:
    from simulation.witness import Witness
    from simulation.worker import SimulatedWorker

_ENDED_WELL = (Done, Skipped, Rejected)


class Ends:
    """Sees every attempt end."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def ran(self, session: Session, task: Task, outcome: Outcome | None) -> None:
        """An event has run to its end in a worker; nobody knows yet."""
        life = self._witness.lives.of(session, task)
        self._witness.world.trace("end", session.claim, task.offset, type(outcome or Done()).__name__)
        if isinstance(outcome, Done):
            life.event.known.update(emit.id for emit in outcome.emits)
        if session.stale or life.session is not session:
            return
        life.state = "ran"
        if outcome is None or isinstance(outcome, _ENDED_WELL):
            session.pass_(life)

    def reported(self, session: Session, task: Task, outcome: Outcome | None) -> None:
        """The runtime learns how an event ended."""
        if isinstance(outcome, NotRun | Divided):
            return
        life = self._witness.lives.of(session, task)
        emits = tuple(emit.id for emit in outcome.emits) if isinstance(outcome, Done) else ()
        kind = "done" if outcome is None or isinstance(outcome, Done | Skipped) else ""
        self._witness.saw(name_of(outcome, len(session.spec.retry)))
        rule = rule_of(outcome, session.spec)
        if not kind and (rule is None or self._is_last(task, rule)):
            kind = "dead"
        if not kind and session.defers:
            self._move(life, session, task, delays_ms(outcome, task.attempt, rule))
            return
        life.charged += not kind or isinstance(outcome, Failed | Postponed | TimedOut)
        if kind:
            self._end(life, session, Ending(kind, emits, task.attempt))
        if session.stale or life.session is not session:
            return
        if kind:
            life.state = "ended"
            session.pass_(life)
        else:
            life.state = "failed"
            life.expected += 1
            life.not_before_ms = self._now_ms() + delays_ms(outcome, task.attempt, rule)[0]

    def died(self, worker: SimulatedWorker, death: Death) -> None:
        """The runtime learns that a worker is gone: who is to blame pays, suspects run alone, the others go back."""
        innocent = death.reason in {"stopped", "zygote"}
        pays = set(death.culprits) or (set(death.running) if len(death.running) == 1 else set())
        if death.reason == "zygote":
            self._witness.saw("worker died with the zygote")
        if death.reason == "timeout":
            self._witness.saw("worker killed for an event past its time")
        running = set(death.running)
        if worker.runs_batches:
            pays, running = self._divided(worker, death, pays)
        for work in worker.sent:
            for index, task in enumerate(work.chunk.tasks):
                life = self._witness.lives.of(work.session, task)
                if index in work.told or life.session is not work.session or not life.in_hand:
                    continue
                work.session.go_back(life)
                if not innocent and (work.chunk.id, index) in pays:
                    life.crashed = life.crashed or death.reason != "timeout"
                    life.alone = life.alone or life.crashed
                    self._charge_crash(life, work.session, task)
                else:
                    self._give_back(life, suspect=not innocent and not pays and (work.chunk.id, index) in running)

    def _divided(
        self, worker: SimulatedWorker, death: Death, pays: set[tuple[int, int]]
    ) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """Of the batch that ran: its only event, if it pays, or all of it as suspects; a timeout makes none."""
        for work in worker.sent:
            if (work.chunk.id, 0) in death.running:
                left = {(work.chunk.id, index) for index in range(len(work.chunk.tasks)) if index not in work.told}
                if len(left) == 1:
                    return (left if pays else set()), left
                self._witness.saw("batch divided by a death", death.reason not in {"stopped", "zygote"})
                return set(), set() if death.reason == "timeout" else left
        return set(), set()

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _give_back(self, life: Life, *, suspect: bool) -> None:
        life.excuses += 1
        life.state = "lost"
        life.alone = life.alone or suspect
        if suspect:
            self._witness.saw("suspects after a crash")

    def _charge_crash(self, life: Life, session: Session, task: Task) -> None:
        self._witness.saw("crash charged")
        rule = session.spec.retry[-1]
        last = self._is_last(task, rule)
        if not last and session.defers:
            self._move(life, session, task, delays_ms(None, task.attempt, rule))
            return
        life.charged += 1
        if last:
            life.state = "ended"
            self._end(life, session, Ending("dead", (), task.attempt))
            session.aside.add(life.offset)
        else:
            life.state = "failed"
            life.expected += 1
            life.not_before_ms = self._now_ms() + delays_ms(None, task.attempt, rule)[0]

    def _move(self, life: Life, session: Session, task: Task, delays_ms: tuple[int, int]) -> None:
        """It is to go on in a retry topic: its charge is written there, not in the ledger of its partition."""
        least, most = (self._now_ms() + delay for delay in delays_ms)
        self._end(life, session, Ending("moved", (), task.attempt, life.crashed, least, most))
        if not session.stale and life.session is session:
            life.state = "ended"
            session.pass_(life)

    def _end(self, life: Life, session: Session, ending: Ending) -> None:
        session.endings[life.offset] = ending
        session.ended += 1
        life.event.barren = life.event.barren or not ending.emits

    def _is_last(self, task: Task, rule: RetryPolicy) -> bool:
        """Whether a failure under that rule is the event's last."""
        if task.attempt >= rule.attempts:
            return True
        age_ms = self._now_ms() - task.timestamp
        if rule.max_age is None or age_ms <= rule.max_age * 1000:
            return False
        self._witness.saw("too old for another attempt")
        return True

    def _now_ms(self) -> int:
        return self._witness.world.clock.now_ms()


def rule_of(outcome: Outcome | None, spec: FunctionSpec) -> RetryPolicy | None:
    """The retry rule an outcome is under (R2); None if there is no other attempt, whatever the rules say."""
    match outcome:
        case Failed(_, int(number)):
            return spec.retry[min(number, len(spec.retry) - 1)]
        case TimedOut() | Postponed():
            return spec.retry[-1]
        case _:
            return None


def delays_ms(outcome: Outcome | None, attempt: int, rule: RetryPolicy | None) -> tuple[int, int]:
    """The least and the most time before the next attempt, in milliseconds."""
    if isinstance(outcome, Postponed):
        return round(outcome.seconds * 1000), round(outcome.seconds * 1000)
    assert rule is not None
    most = round(min(rule.delay * rule.factor ** (attempt - 1), rule.max_delay) * 1000)
    return (0 if rule.jitter == "full" else most), most
