"""A pool of one worker in this process: what `Dispatch` and `Subscription` need of one, and no more.

It runs the very `Invocation` that workers use, one event (or batch) after another, whatever the function's workers and
concurrency: each as a job that is done while the runtime stands still. Its reports are told in the runtime's loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.runtime.dispatch import Dispatch
from headrace.sandbox.death import Death
from headrace.sandbox.lineup import LANES
from headrace.sandbox.loader import Unserviceable
from headrace.sandbox.outcome import ENDED_WELL, NOT_RUN, Outcome
from headrace.sandbox.wire import Chunk, Report
from headrace.testing.history import History
from headrace.testing.invocations import LocalInvocation
from headrace.testing.job import Deadline, Job, performed
from headrace.testing.setups import LocalSetup

_SPENT_NS = 25_000_000  # what an event is said to have taken: so much that they are handed out one by one
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a worker of a function works: what invokes its handler, its setup, and who is told what."""

    invocation: LocalInvocation
    setup: LocalSetup
    history: History
    jobs: deque[Job]
    timeouts: bool

    @property
    def name(self) -> str:
        """The function's name."""
        return self.invocation.handler.declaration.name


class LocalWorker:
    """What the runtime knows as a `Worker`. `in_flight` counts events sent and not yet reported."""

    def __init__(self, number: int, bench: Bench, pool: LocalPool) -> None:
        self.id = number
        self.generation = 0
        self.in_flight = 0
        self._bench = bench
        self._pool = pool
        self._errands: deque[_Errand] = deque()

    def send(self, chunk: Chunk) -> None:
        """See `Worker.send`."""
        self.in_flight += len(chunk.tasks)
        self._errands.append(_Errand(chunk, self._bench.invocation.handler.declaration.order))
        self._ask()

    def recall(self) -> None:
        """See `Worker.recall`. Nothing runs while the runtime does."""
        errands, self._errands = self._errands, deque()
        for errand in errands:
            left: list[Outcome | None] = [NOT_RUN] * (len(errand.chunk.tasks) - errand.next)
            self._report(errand, left)

    def kill(self) -> None:
        """See `Worker.kill`."""
        self._errands.clear()
        self._pool.end(self)

    def _ask(self) -> None:
        self._bench.jobs.append(Job(self._bench.invocation.handler.is_async, self._work))

    async def _work(self) -> None:
        """Run the next event, or batch."""
        if not self._errands:  # they were recalled
            return
        errand = self._errands[0]
        outcomes = [NOT_RUN] if errand.is_blocked else await self._run(errand)
        self._report(errand, outcomes)
        if errand.next == len(errand.chunk.tasks):
            self._errands.popleft()
        if self._errands:
            self._ask()

    async def _run(self, errand: _Errand) -> list[Outcome | None]:
        bench, task = self._bench, errand.chunk.tasks[errand.next]
        bench.invocation.logs.clear()
        deadline = Deadline(bench.invocation.handler.declaration.timeout if bench.timeouts else None)
        bench.setup.at_work = True
        try:
            outcomes = await performed(
                bench.invocation.handler.is_async,
                deadline,
                lambda: bench.invocation.attempt(errand.chunk, task, deadline.is_late),
            )
        finally:
            bench.setup.at_work = False
        bench.history.ran(bench.name, errand.chunk, errand.next, list(bench.invocation.logs))
        return outcomes

    def _report(self, errand: _Errand, outcomes: Sequence[Outcome | None]) -> None:
        first = errand.next
        errand.note(outcomes)
        report = Report(errand.chunk.id, first, list(outcomes), _SPENT_NS * len(outcomes))
        self._pool.soon(lambda: self._tell(report))

    def _tell(self, report: Report) -> None:
        self.in_flight -= len(report.outcomes)
        self._pool.dispatch.reported(self, report)

    def __repr__(self) -> str:
        return f"<LocalWorker {self.id} of {self._bench.name}: {self.in_flight} events in flight>"


class _Errand:
    """A chunk on its way: which event is next, and whose lanes must wait for another chunk."""

    def __init__(self, chunk: Chunk, order: str) -> None:
        self.chunk = chunk
        self.next = 0
        self._lane_of = LANES[order]
        self._blocked: dict[object, int] = {}

    @property
    def is_blocked(self) -> bool:
        """Whether an event before the next one, and of its lane, did not end well."""
        task = self.chunk.tasks[self.next]
        return self._blocked.get(self._lane_of(task), -1) >= task.epoch

    def note(self, outcomes: Sequence[Outcome | None]) -> None:
        """These are the outcomes of the next events."""
        for outcome in outcomes:
            task = self.chunk.tasks[self.next]
            if outcome is not None and not isinstance(outcome, ENDED_WELL):
                self._blocked[self._lane_of(task)] = task.epoch
            self.next += 1


class LocalPool:
    """What the runtime knows as a `Pool`. Its worker is set up at the first event, and again if that failed."""

    def __init__(self, bench: Bench, dispatch: Dispatch, loop: asyncio.AbstractEventLoop) -> None:
        self.problem: str | None = None
        self.starting = 0
        self.workers: list[LocalWorker] = []
        self.leaving: Sequence[LocalWorker] = ()  # its code is never replaced
        self.dispatch = dispatch
        self._bench = bench
        self._loop = loop
        self._births = 0
        self._pause = 0.0
        self._waits = False
        self._is_open = False  # its setup
        self._closed: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """See `Pool.open`: its worker comes with the first event, however many were to be there."""

    def demand(self) -> None:
        """See `Pool.demand`."""
        if not (self.workers or self.starting or self._waits or self._closed):
            self.starting = 1
            self._bench.jobs.append(Job(self._bench.setup.needs_loop, self._begin))

    async def close(self, grace: float) -> None:  # noqa: ARG002  (nothing runs while the runtime does)
        """See `Pool.close`."""
        self._closed = self._loop.create_future()
        for worker in list(self.workers):
            worker.kill()
        if self._is_open:
            self._bench.jobs.append(self.farewell())
            await self._closed

    def hurry(self) -> None:
        """Try a setup that failed again, now."""
        if self._waits:
            self._try_again()

    def farewell(self) -> Job:
        """What closes the setup."""
        return Job(self._bench.setup.needs_loop, self._end_setup)

    @property
    def is_set_up(self) -> bool:
        """Whether there is a setup to close."""
        return self._is_open

    def soon(self, call: Callable[[], None]) -> None:
        """Have this called in the runtime's loop, if that lives on."""
        if not self._loop.is_closed():
            self._loop.call_soon(call)

    def end(self, worker: LocalWorker) -> None:
        """It takes no more work; what it had goes back."""
        if worker in self.workers:
            self.workers.remove(worker)
            self.soon(lambda: self.dispatch.died(worker, Death("stopped", "killed on request", (), ())))

    async def _begin(self) -> None:
        try:
            if not self._is_open:
                self._bench.invocation.state = await self._bench.setup.open()
                self._is_open = True
        except Unserviceable as error:
            problem = error.broken.failure.message
            self.soon(lambda: self._fail(problem))
        else:
            self.soon(self._be_ready)

    def _be_ready(self) -> None:
        self.starting, self.problem, self._pause = 0, None, 0.0
        self._births += 1
        self.workers.append(worker := LocalWorker(self._births, self._bench, self))
        self.dispatch.worker_ready(worker)

    def _fail(self, problem: str) -> None:
        self.starting, self.problem = 0, problem
        self._pause = min(self._pause * 2 or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._waits = True
        self._loop.call_later(self._pause, self._try_again)
        self.dispatch.start_failed(problem)

    def _try_again(self) -> None:
        self._waits = False
        self.demand()

    async def _end_setup(self) -> None:
        self._is_open = False
        await self._bench.setup.close()
        if self._closed is not None and not self._closed.done():
            self.soon(self._have_closed)

    def _have_closed(self) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.workers)} workers, {self.starting} starting"
        return f"<LocalPool of {self._bench.name}: {state}{f'; {self.problem}' if self.problem else ''}>"
