"""A worker and a pool as the dispatch sees them, in virtual time.

A worker obeys the rules of `headrace.sandbox.worker`: the events of a chunk start in frame order, at most
`concurrency` at once and one of a lane; after a lane's event did not end well, the lane's further events of the chunk
are answered `NotRun`; outcomes are reported in order, at the end of the chunk or soon after they are known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.functions.identity import derived_id
from headrace.functions.partition import partition_of
from headrace.sandbox.headers import pack
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import (
    Done,
    Emitted,
    Failed,
    Failure,
    NotRun,
    Outcome,
    Postponed,
    Rejected,
    Skipped,
    TimedOut,
)
from headrace.sandbox.process import Death
from headrace.sandbox.wire import Chunk, Report, Task
from simulation.loop import Process
from simulation.script import script_of

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.witness import Session

_ENDED_WELL = (Done, Skipped, Rejected)
_NOT_RUN = NotRun()
_HARD_S = 2.0


@dataclass
class Work:
    """A chunk in a worker. `outcomes` are those not sent in a report yet."""

    chunk: Chunk
    session: Session
    nth: int
    next: int = 0
    running: dict[int, object] = field(default_factory=dict)  # with their lanes
    started: dict[int, float] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)  # told by a report that has arrived
    sent: int = 0  # how many were sent in reports
    outcomes: dict[int, Outcome | None] = field(default_factory=dict)
    blocked: dict[object, int] = field(default_factory=dict)


class SimulatedWorker:
    """What `Dispatch` and `Pool` know as a `Worker`."""

    def __init__(self, pool: SimulatedPool, number: int, process: Process) -> None:
        self.id = number
        self.pid = number
        self.generation = 0
        self.code = ""
        self.in_flight = 0
        self.alive = True
        self.works: deque[Work] = deque()
        self.sent: list[Work] = []
        self._pool = pool
        self._node = pool.node
        self._loop = pool.node.world.loop
        self._spec = pool.spec
        self._process = process
        self._runtime = pool.node.process
        self._recalled = 0
        self._count = 0
        self._flushing = False
        self._stopping = False
        self._delivered = 0.0

    # -- what the runtime does ----------------------------------------------------------------------------------------

    def send(self, chunk: Chunk) -> None:
        """See `Worker.send`."""
        self._count += 1
        self.in_flight += len(chunk.tasks)
        session = self._node.world.witness.handed_out(self._node, self._spec, chunk)
        work = Work(chunk, session, self._count)
        self.sent.append(work)
        if self.alive:
            self._process.call_at(self._loop.now + self._random.choice([0.0, 0.0002]), self._receive, work)

    def recall(self) -> None:
        """See `Worker.recall`."""
        self._recalled = self._count

    def kill(self) -> None:
        """See `Worker.kill`."""
        self.die("stopped", "killed on request")

    async def stop(self, grace: float) -> None:
        """See `Worker.stop`."""
        self.end(grace)
        while self in self._pool.bodies:
            await self._pool.changed()

    def end(self, grace: float) -> None:
        """It finishes what it has, and is killed after `grace` seconds."""
        self._stopping = True
        self._process.call_at(self._loop.now, self._advance)
        self._process.call_at(self._loop.now + grace, self.die, "stopped", "killed on request")

    # -- the worker's process -----------------------------------------------------------------------------------------

    def _receive(self, work: Work) -> None:
        self.works.append(work)
        self._advance()

    def _advance(self) -> None:
        while self.works:
            work = self.works[0]
            while work.next < len(work.chunk.tasks) and len(work.running) < self._spec.concurrency:
                if not self._begin(work, work.next):
                    break
                work.next += 1
            if len(work.outcomes) + work.sent < len(work.chunk.tasks):
                return
            self._flush(work)
            self.works.popleft()
        if self._stopping and all(work.sent == len(work.chunk.tasks) for work in self.sent):
            self.die("stopped", "asked to stop")

    def _begin(self, work: Work, index: int) -> bool:
        """Start an event or pass it over; whether one may go on to the next."""
        task = work.chunk.tasks[index]
        lane = lane_of(self._spec.order, task)
        if lane in work.running.values():
            return False
        if self._recalled >= work.nth or work.blocked.get(lane, -1) >= task.epoch:
            work.outcomes[index] = _NOT_RUN
            return True
        beside = [other.chunk.tasks[at] for other in self.sent for at in other.running]
        work.running[index] = lane
        work.started[index] = self._loop.now
        self._node.world.witness.started(self, work.session, task, beside)
        chunk = work.chunk
        script = script_of(self._node.world.seed, self._spec, chunk.topic, chunk.partition, task.offset)
        kind = script.at(task.attempt)
        now = self._loop.now
        if kind == "crash":
            self._process.call_at(now + script.seconds, self.die, "signalled", "the worker was killed by SIGSEGV")
        elif kind == "hang":
            self._process.call_at(now + self._spec.timeout + _HARD_S, self.die, "timeout", "it ran too long: killed")
        else:
            seconds = self._spec.timeout if kind == "timeout" else script.seconds
            outcome = self._outcome(kind, script.emits, chunk, task)
            self._process.call_at(now + seconds, self._finish, work, index, outcome)
        return True

    def _finish(self, work: Work, index: int, outcome: Outcome | None) -> None:
        lane = work.running.pop(index)
        task = work.chunk.tasks[index]
        work.outcomes[index] = outcome
        if outcome is not None and not isinstance(outcome, _ENDED_WELL):
            work.blocked[lane] = task.epoch
        self._node.world.witness.ran(work.session, task, outcome)
        if not self._flushing:
            self._flushing = True
            self._process.call_at(self._loop.now + self._random.choice([0.0, 0.002, 0.005]), self._flush_soon)
        self._advance()

    def _flush_soon(self) -> None:
        self._flushing = False
        if self.works:
            self._flush(self.works[0])

    def _flush(self, work: Work) -> None:
        """Report what is known, in runs of consecutive events."""
        while work.outcomes:
            first = min(work.outcomes)
            outcomes: list[Outcome | None] = []
            while first + len(outcomes) in work.outcomes:
                outcomes.append(work.outcomes.pop(first + len(outcomes)))
            work.sent += len(outcomes)
            report = Report(work.chunk.id, first, outcomes, int(len(outcomes) * self._random.choice([1e5, 2e6, 5e7])))
            self._deliver(self._arrive, work, report)

    def _outcome(self, kind: str, emits: Sequence[str], chunk: Chunk, task: Task) -> Outcome | None:
        match kind:
            case "done":
                return Done(self._emitted(emits, chunk, task)) if emits else None
            case "skip":
                return Skipped("type", "Other")
            case "reject":
                return Rejected(Failure("Rejected", "no good"))
            case "hopeless":
                return Failed(Failure("KeyError", "never again"), None)
            case "postpone":
                return Postponed(0.5)
            case "timeout":
                return TimedOut(Failure("HandlerTimeout", "too late"))
            case _:
                return Failed(Failure("ValueError", "not yet"), 0)

    def _emitted(self, emits: Sequence[str], chunk: Chunk, task: Task) -> list[Emitted]:
        place = f"{chunk.topic}/{chunk.partition}/{task.offset}"
        emitted = []
        for nth, topic in enumerate(emits):
            id_ = derived_id(source="sim", cause=place, app="sim", function=self._spec.name, topic=topic, nth=nth)
            count = self._node.world.scenario.topics[topic]
            partition = partition_of(id_.encode() if task.key is None else task.key, count)
            value = f"{self._spec.name} {place} {nth} {id_}".encode()
            emitted.append(Emitted(topic, partition, task.timestamp, task.key, value, pack([]), id_))
        return emitted

    # -- to the runtime -----------------------------------------------------------------------------------------------

    def _deliver(self, callback: Any, *arguments: Any) -> None:
        """In order, a little later, to the runtime's process."""
        self._delivered = max(self._delivered, self._loop.now + self._random.choice([0.0, 0.0002, 0.001]))
        self._runtime.call_at(self._delivered, callback, *arguments)

    def _arrive(self, work: Work, report: Report) -> None:
        self.in_flight -= len(report.outcomes)
        for index, outcome in enumerate(report.outcomes, report.first):
            work.told.add(index)
            self._node.world.witness.reported(work.session, work.chunk.tasks[index], outcome)
        if len(work.told) == len(work.chunk.tasks):
            self.sent.remove(work)
        self._pool.reported(self, report)

    def die(self, reason: str, detail: str) -> None:
        """The process is gone; what it told before arrives before the news of its death."""
        if not self.alive:
            return
        self.vanish()
        running = tuple(sorted((work.chunk.id, index) for work in self.sent for index in work.running))
        late = self._loop.now - self._spec.timeout - _HARD_S + 1e-6
        culprits = tuple(
            (work.chunk.id, index)
            for work in self.sent
            for index in work.running
            if reason == "timeout" and work.started[index] <= late
        )
        self._node.world.trace(self, "died:", reason, "running", running, "culprits", culprits)
        self._deliver(self._mourn, Death(reason, detail, running, (), culprits))  # type: ignore[arg-type]

    def vanish(self) -> None:
        """It is gone, and nobody will be told."""
        self.alive = False
        self._process.kill()

    def _mourn(self, death: Death) -> None:
        self._node.world.witness.died(self, death)
        self._pool.died(self, death)

    @property
    def _random(self) -> Any:
        return self._node.world.random

    def __repr__(self) -> str:
        return f"<worker {self.id} of {self._node.name}: {self.in_flight} in flight>"


class SimulatedPool:
    """What `Dispatch` and `Subscription` know as a `Pool`: workers start late, sometimes not, and stop when idle."""

    def __init__(self, node: Node, spec: FunctionSpec, listener: Any) -> None:
        self.node = node
        self.spec = spec
        self.problem: str | None = None
        self.starting = 0
        self.bodies: list[SimulatedWorker] = []
        self._ready: list[SimulatedWorker] = []
        self._listener = listener
        self._wanted = self._closed = False
        self._loop = node.world.loop
        self._waiters: list[Any] = []

    @property
    def workers(self) -> list[SimulatedWorker]:
        """Those that take work."""
        return list(self._ready)

    async def open(self) -> None:
        """See `Pool.open`."""
        for _ in range(self.spec.workers[0]):
            self.demand()

    def demand(self) -> None:
        """See `Pool.demand`."""
        if not self._closed and len(self._ready) + self.starting < self.spec.workers[1]:
            self.starting += 1
            delay = self.node.world.random.choice([0.001, 0.01, 0.1])
            self._loop.call_later(delay, self._born)

    async def close(self, grace: float) -> None:
        """See `Pool.close`."""
        self._closed = True
        for worker in list(self._ready):
            self._stop(worker, grace)
        while self.bodies:
            await self.changed()

    async def changed(self) -> None:
        """Wait until a worker has gone."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def reported(self, worker: SimulatedWorker, report: Report) -> None:
        """Passed on."""
        self._listener.reported(worker, report)

    def died(self, worker: SimulatedWorker, death: Death) -> None:
        """One less."""
        if worker in self._ready:
            self._ready.remove(worker)
        self.bodies.remove(worker)
        self._listener.died(worker, death)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _born(self) -> None:
        self.starting -= 1
        if self._closed:
            return
        if self.node.world.troubled and self.node.world.random.random() < 0.1:
            self.problem = "importing it failed"
            self._loop.call_later(0.5, self._try_again)
            self._listener.start_failed(self.problem)
            return
        self.problem = None
        number = self.node.world.next_number()
        worker = SimulatedWorker(self, number, self._loop.process(f"worker {number}"))
        self.bodies.append(worker)
        self._ready.append(worker)
        if self.spec.idle:
            self._loop.call_later(self.spec.idle, self._look, worker)
        self._listener.worker_ready(worker)

    def _try_again(self) -> None:
        self.demand()

    def _look(self, worker: SimulatedWorker) -> None:
        if worker in self._ready and not worker.in_flight and len(self._ready) > self.spec.workers[0]:
            self._stop(worker, 5.0)
        elif worker in self._ready:
            self._loop.call_later(self.spec.idle, self._look, worker)

    def _stop(self, worker: SimulatedWorker, grace: float) -> None:
        self._ready.remove(worker)
        worker.end(grace)


def lane_of(order: str, task: Task) -> object:
    """As `headrace.sandbox.worker` has it."""
    if order == "partition":
        return None
    return task.offset if order == "none" or task.key is None else task.key
