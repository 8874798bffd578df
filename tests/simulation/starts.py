"""Starts: whether an event may start where and when it does. Promises: *order*, *attempts*, *exactly once*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.sandbox.wire import Task
from simulation.life import Life
from simulation.scenario import most_attempts
from simulation.session import Session

if TYPE_CHECKING:
    from simulation.witness import Witness
    from simulation.worker import SimulatedWorker


class Starts:
    """Sees every event that starts in a worker."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def started(self, worker: SimulatedWorker, session: Session, task: Task, beside: Sequence[Task]) -> None:
        """An event starts in a worker, beside others of it."""
        witness = self._witness
        life = witness.lives.of(session, task)
        beside_it = f"beside {len(beside)}" if beside else "alone"
        stale = "in a stale session" if session.stale else ""
        what = (session.claim, task.offset, task.key, "attempt", task.attempt, "in", worker.id, beside_it, stale)
        witness.world.trace("start", *what)
        self._count(life, session, task)
        life.starts += 1
        if session.stale:
            self._check_stale(life, session)
            return
        event = f"offset {task.offset} of {session}"
        if session.over:
            witness.fail(f"order: {event} starts after its partition was let go")
        self._take_over(life, session, event)
        self._check_turn(life, session, event)
        self._check_generation(life, session, worker.generation, event)
        self._check_attempt(life, session, task, event)
        if beside and (life.alone or any(witness.lives.of(session, one).alone for one in beside if one is not task)):
            witness.fail(f"attempts: {event} starts beside others, and one of them is suspected of a crash")
        life.state, life.session = "running", session

    def _check_stale(self, life: Life, session: Session) -> None:
        life.excuses += 1
        now = self._witness.sessions.current[session.claim]
        if now is not session and (now.node, now.life) == (session.node, session.life):
            self._witness.fail(f"order: offset {life.offset} of {session} starts while its runtime has {now}")

    def _take_over(self, life: Life, session: Session, what: str) -> None:
        """Whether it may start at all; what an earlier session knew of it and this one does not is forgotten."""
        if session.before.done(life.offset):
            self._witness.fail(f"exactly once: {what} starts, and was done before")
        if life.offset in session.aside:
            self._witness.fail(f"attempts: {what} starts, and has had all its attempts")
        if life.session is session:
            if life.state not in {"failed", "lost", "idle"}:
                self._witness.fail(f"order: {what} starts again; it is {life.state}")
            return
        charged = session.before.failures.get(life.offset, 0)
        if life.session is not None:
            learned = life.state == "failed" and life.expected == charged and session.before.died_at != life.offset
            life.excuses += not learned  # its owner died, or let go of it
            life.alone = life.crashed = life.crashed and learned
            life.not_before_ms *= learned
        life.expected = charged
        life.crashed = life.crashed or life.marked or life.offset in session.before.alone
        life.alone = life.alone or life.crashed

    def _check_turn(self, life: Life, session: Session, what: str) -> None:
        """Whether all before it in its lane have ended."""
        lane = self._witness.lives.lane(life, session.spec.order)
        (name, place), next_ = session.turn(life), session.next_of.get(session.turn(life).lane, 0)
        while next_ < place and _is_past(lane[next_], session):
            next_ += 1
        session.next_of[name] = next_
        if next_ != place:
            before = lane[next_].offset
            self._witness.fail(f"order: {what} starts, and offset {before} before it in its lane {name} has not ended")

    def _check_generation(self, life: Life, session: Session, generation: int, what: str) -> None:
        """A lane moves to newer code when nothing of it is left in a worker of the older, and never back."""
        lane_name = session.turn(life).lane
        before = session.generations.setdefault(lane_name, generation)
        if generation == before:
            return
        self._witness.saw("lane moved to a new generation")
        session.generations[lane_name] = generation
        if generation < before:
            self._witness.fail(f"order: {what} starts in generation {generation}, its lane has been in {before}")
        lane = self._witness.lives.lane(life, session.spec.order)
        if left := [one.offset for one in lane if one is not life and one.session is session and one.in_hand]:
            self._witness.fail(
                f"order: {what} starts in generation {generation}, {left} of its lane are still in another"
            )

    def _check_attempt(self, life: Life, session: Session, task: Task, what: str) -> None:
        fail, now_ms = self._witness.fail, self._witness.world.clock.now_ms()
        durable = self._witness.durable(session.claim)
        charged = durable.failures.get(life.offset, 0)
        if charged != life.expected:
            fail(f"attempts: {what} starts; {charged} failures are durable, it has had {life.expected}")
        if task.attempt != life.brought + charged + 1:
            failures = f"{charged} failures charged and {life.brought} brought along"
            fail(f"attempts: {what} starts as attempt {task.attempt} with {failures}")
        if (due_ms := max(durable.due_ms.get(life.offset, 0), life.not_before_ms)) > now_ms:
            fail(f"attempts: {what} starts {due_ms - now_ms} ms before its time")
        attempts = most_attempts(session.spec)
        times = 1 + charged if session.defers else attempts - life.brought  # one served in order charged it in place
        if task.attempt > attempts or life.starts > times + life.excuses:
            fail(f"attempts: {what} starts {life.starts} times, attempt {task.attempt} of {attempts}")
        self._witness.detours.delivered(life, task, now_ms, what)

    def _count(self, life: Life, session: Session, task: Task) -> None:
        saw = self._witness.saw
        saw(f"order {session.spec.order}")
        if task.key is None:
            saw("event without a key")
        if life.starts >= task.attempt - life.brought:
            saw("event run again without a charge")
        if life.alone:
            saw("ran alone across topics" if life.marked else "ran alone as a suspect")
        if life.moved:
            saw(f"started from a retry topic{'' if session.defers else ' in another order'}")
        if session.stale:
            saw("start in a stale session")


def _is_past(life: Life, session: Session) -> bool:
    """Whether later events of its lane need not wait for it."""
    if session.before.done(life.offset) or life.offset in session.aside:
        return True
    return life.gone and (life.session is not session or life.state == "ended")
