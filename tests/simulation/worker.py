"""A worker as the dispatch sees it, in virtual time.

It obeys the rules of `headrace.sandbox.worker`: the events of a chunk start in frame order, at most `concurrency` at
once and one of a lane; after a lane's event did not end well, the lane's further events of the chunk are answered
`NotRun`; outcomes are reported in order, at the end of the chunk or soon after they are known.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from headrace.sandbox.outcome import Outcome
from headrace.sandbox.process import Death
from headrace.sandbox.wire import Chunk, Report
from simulation.handler import HARD_S
from simulation.post import Post
from simulation.process import Process
from simulation.work import Work, death_of

if TYPE_CHECKING:
    from simulation.pool import SimulatedPool


class SimulatedWorker:
    """What `Dispatch` and `Pool` know as a `Worker`. `sent` is the work of which not all was told yet."""

    def __init__(self, pool: SimulatedPool, number: int, generation: int, process: Process) -> None:
        self.id = number
        self.runs_batches = pool.spec.batch is not None
        self.pid = number
        self.generation = generation
        self.code = ""
        self.in_flight = 0
        self.alive = True
        self.sent: list[Work] = []
        self.node = pool.node
        self._works: deque[Work] = deque()
        self._pool = pool
        self._witness = pool.node.world.witness
        self._random = pool.node.world.random
        self._loop = pool.node.world.loop
        self._spec = pool.spec
        self._process = process
        self._post = Post(pool.node.process, self._loop, self._random)
        self._recalled = 0
        self._count = 0
        self._flushing = False
        self._stopping = False

    # -- what the runtime does ----------------------------------------------------------------------------------------

    def send(self, chunk: Chunk) -> None:
        """See `Worker.send`."""
        self._count += 1
        self.in_flight += len(chunk.tasks)
        session = self._witness.sessions.handed_out(self, self._spec, chunk)
        self._witness.rates.handed_out(self, self._spec, len(chunk.tasks))
        work = Work(chunk, session, self._count, self._spec.order)
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
        self._works.append(work)
        self._advance()

    def _advance(self) -> None:
        while self._works:
            work = self._works[0]
            self._run(work)
            if not work.ended:
                return
            self._flush(work)
            self._works.popleft()
        if self._stopping and all(work.all_sent for work in self.sent):
            self.die("stopped", "asked to stop")

    def _run(self, work: Work) -> None:
        """Start what of it may start."""
        while work.next < len(work.chunk.tasks) and len(work.running) < self._spec.concurrency:
            if work.busy(work.next):
                return
            if not work.pass_over(work.next, recalled=self._recalled >= work.nth):
                self._begin(work, work.next)
            work.next += 1

    def _begin(self, work: Work, index: int) -> None:
        task = work.chunk.tasks[index]
        beside = [other.chunk.tasks[at] for other in self.sent for at in other.running]
        work.begin(index, self._loop.now)
        self._witness.starts.started(self, work.session, task, beside)
        seconds, kind, outcome = self._pool.handler.attempt(work.chunk, task)
        call, *arguments = DEATHS.get(kind) or (SimulatedWorker._finish, work, index, outcome)
        self._process.call_at(self._loop.now + seconds, call, self, *arguments)

    def _finish(self, work: Work, index: int, outcome: Outcome | None) -> None:
        work.end(index, outcome)
        self._witness.ends.ran(work.session, work.chunk.tasks[index], outcome)
        if not self._flushing:
            self._flushing = True
            self._process.call_at(self._loop.now + self._random.choice([0.0, 0.002, 0.005]), self._flush_soon)
        self._advance()

    def _flush_soon(self) -> None:
        self._flushing = False
        if self._works:
            self._flush(self._works[0])

    def _flush(self, work: Work) -> None:
        for first, outcomes in work.reports():
            spent_ns = int(len(outcomes) * self._random.choice([1e5, 2e6, 5e7]))
            self._post.send(self._arrive, work, Report(work.chunk.id, first, outcomes, spent_ns))

    # -- to the runtime -----------------------------------------------------------------------------------------------

    def _arrive(self, work: Work, report: Report) -> None:
        self.in_flight -= len(report.outcomes)
        for task, outcome in work.arrived(report):
            self._witness.ends.reported(work.session, task, outcome)
        if work.done_with:
            self.sent.remove(work)
        self._pool.reported(self, report)

    def die(self, reason: str, detail: str) -> None:
        """The process is gone; what it told before arrives before the news of its death."""
        if not self.alive:
            return
        self.vanish()
        since = self._loop.now - self._spec.timeout - HARD_S + 1e-6
        death = death_of(self.sent, reason, detail, since)
        self.node.world.trace(self, "died:", reason, "running", death.running, "culprits", death.culprits)
        self._post.send(self._mourn, death)

    def vanish(self) -> None:
        """It is gone, and nobody will be told."""
        self.alive = False
        self._process.kill()

    def _mourn(self, death: Death) -> None:
        self._witness.ends.died(self, death)
        self._pool.died(self, death)

    def __repr__(self) -> str:
        return f"<worker {self.id} of {self.node.name}, generation {self.generation}: {self.in_flight} in flight>"


DEATHS = {
    "crash": (SimulatedWorker.die, "signalled", "the worker was killed by SIGSEGV"),
    "hang": (SimulatedWorker.die, "timeout", "it ran too long: killed"),
}
