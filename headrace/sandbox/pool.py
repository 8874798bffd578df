"""A pool: the workers of one function, started when there is work, stopped when there is none, replaced by newer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from headrace.functions.errors import HeadraceError, SandboxError, TargetError
from headrace.sandbox.process import Death, Line, Listener, Worker, WorkerSpec, Zygote
from headrace.sandbox.wire import Report

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
IDLE_GRACE = 5.0  # seconds in which a worker without work must have ended, its setup closed


class Pool:
    """Between `least` and `most` workers of one function. Listens to them and passes on to `listener`.

    A worker that has had no work for `idle` seconds is stopped if more than `least` are there. After a start that
    failed, or a worker that died without having reported anything or run an event that could be blamed, the next start
    waits: 0.5 s, doubled each time up to 30 s, until a worker reports. `problem` says why the last start failed, None
    once one succeeded; `on_problem` is told of each failed start, `on_ready` of each worker that can take work.

    `renew` has other code, or other options, run from now on. Workers of before finish what they run and end.
    """

    def __init__(
        self,
        zygote: Zygote,
        spec: WorkerSpec,
        listener: Listener,
        *,
        least: int,
        most: int,
        idle: float,
        on_ready: Callable[[Worker], None] | None = None,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        self.problem: str | None = None
        self._zygote = zygote
        self._spec = spec
        self._listener = listener
        self._least, self._most, self._idle = least, most, idle
        self._generation = 0
        self._on_ready, self._on_problem = on_ready, on_problem
        self._ready: dict[int, Worker] = {}
        self._since: dict[int, float] = {}
        self._leaving: dict[int, Worker] = {}
        self._told: set[int] = set()
        self._starts: set[asyncio.Task[None]] = set()
        self._stops: set[asyncio.Task[None]] = set()
        self._pause = 0.0
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = False
        self._closed = False

    # -- what the runtime does ----------------------------------------------------------------------------------------

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers that take work now."""
        return list(self._ready.values())

    @property
    def leaving(self) -> Sequence[Worker]:
        """The workers that take no more work, and may still run some."""
        return list(self._leaving.values())

    @property
    def starting(self) -> int:
        """How many are being started."""
        return len(self._starts)

    async def open(self) -> None:
        """Bring up the least number of workers. A start that fails is tried again later; see `problem`."""
        for _ in range(self._least - len(self._ready) - len(self._starts)):
            self._start()
        if self._starts:
            await asyncio.wait(set(self._starts))
        self._arm()

    def demand(self) -> None:
        """Work waits: start one more worker in the background, unless there are enough or it is too soon."""
        if self._closed or len(self._ready) + len(self._starts) >= self._most:
            return
        if time.monotonic() >= self._not_before:
            self._start()
        else:
            self._wanted = True
            self._arm()

    async def close(self, grace: float) -> None:
        """Stop all workers, killing what has not ended after `grace` seconds. Returns when they are gone.

        Those that run nothing and have a setup to close have 5 seconds for that.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for start in self._starts:
            start.cancel()
        for worker in self.leaving:
            asyncio.get_running_loop().call_later(grace, worker.kill)
        for worker in self.workers:
            closes = not worker.in_flight and self._spec.function is not None and self._spec.function.setup
            self._stop(worker, max(grace, IDLE_GRACE) if closes else grace)
        if ending := self._starts | self._stops:
            await asyncio.wait(ending)

    # -- newer code ---------------------------------------------------------------------------------------------------

    async def try_out(self, spec: WorkerSpec) -> Worker | None:
        """Start a worker as `spec` says, beside those that serve; None where none serves that it could replace.

        Raises `HeadraceError` if it cannot serve. Nothing has changed until `renew`.
        """
        if not self._ready and not self._starts:
            return None
        worker = await self._spawn(spec, self._generation + 1)
        if self._closed:
            worker.kill()
            raise SandboxError(f"{spec.name} was given up while a worker was started for it")
        return worker

    def renew(self, spec: WorkerSpec, fresh: Worker | None, *, least: int, most: int, idle: float) -> None:
        """From now on workers are as `spec` says. `fresh`, from `try_out`, is the first of them.

        The others finish what they are running, give back what has not started, and end.
        """
        self._spec = spec
        self._generation += 1
        self._least, self._most, self._idle = least, most, idle
        self._pause = self._not_before = 0.0
        waits = self.problem is not None or bool(self._starts)
        self._give_up_starts()
        for worker in self.workers:
            self._retire(worker)
        if fresh is not None:
            self._welcome(fresh)
        elif waits:  # what they were started for is still to be done
            self._start()
        self._arm()

    def _give_up_starts(self) -> None:
        for start in self._starts:
            start.cancel()
            self._stops.add(start)
            start.add_done_callback(self._stops.discard)
        self._starts.clear()

    def _retire(self, worker: Worker) -> None:
        """Its running events have the time they were promised."""
        worker.recall()
        timeout = worker.spec.function.timeout if worker.spec.function is not None else 0.0
        self._stop(worker, timeout + IDLE_GRACE)

    # -- what workers do ----------------------------------------------------------------------------------------------

    def reported(self, worker: Worker, report: Report) -> None:
        """It works: whatever went wrong before is over."""
        self._pause = self._not_before = 0.0
        self._told.add(worker.id)
        if worker.id in self._ready:
            self._since[worker.id] = time.monotonic()
        self._listener.reported(worker, report)

    def died(self, worker: Worker, death: Death) -> None:
        """One less. Only a death that neither we nor an event explain makes the next start wait."""
        self._forget(worker)
        self._leaving.pop(worker.id, None)
        unexplained = death.reason not in {"stopped", "zygote"} and not death.running
        if unexplained and worker.id not in self._told:
            self._back_off()
        self._told.discard(worker.id)
        self._listener.died(worker, death)
        self._arm()

    def said(self, worker: Worker, lines: Sequence[Line]) -> None:
        """Passed on."""
        self._listener.said(worker, lines)

    # -- starting -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        start = asyncio.get_running_loop().create_task(self._bring_up(), name=f"start of {self._spec.name}")
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)

    async def _bring_up(self) -> None:
        try:
            worker = await self._spawn(self._spec, self._generation)
        except HeadraceError as error:
            self._started()
            self._failed(str(error))
            return
        self._started()
        self._welcome(worker)

    async def _spawn(self, spec: WorkerSpec, generation: int) -> Worker:
        worker = await self._zygote.spawn(spec, self, generation=generation)
        if spec.code is not None and worker.code != spec.code:
            worker.kill()
            raise TargetError(f"{spec.target.path}: the files changed while {spec.name} was started from them")
        return worker

    def _welcome(self, worker: Worker) -> None:
        """It can take work."""
        self.problem = None
        if worker.death.done():  # it died before anyone learned that it was ready
            return
        if self._closed:
            self._stop(worker, 0.0)
            return
        self._ready[worker.id] = worker
        self._since[worker.id] = time.monotonic()
        self._arm()
        if self._on_ready is not None:
            self._on_ready(worker)

    def _started(self) -> None:
        """This start is over, one way or the other; what follows must not count it."""
        if (task := asyncio.current_task()) is not None:
            self._starts.discard(task)

    def _failed(self, problem: str) -> None:
        self.problem = problem
        self._back_off()
        self._wanted = True  # what it was started for still waits
        self._arm()
        if self._on_problem is not None:
            self._on_problem(problem)

    def _back_off(self) -> None:
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause

    # -- keeping the number right -------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Look again when something is due: a start that had to wait, or a worker that will have idled long enough."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        due = []
        if not self._closed and self._is_short:
            due.append(self._not_before)
        if not self._closed and len(self._ready) > self._least:
            due.append(min(self._since[id_] for id_ in self._ready) + self._idle)
        if due:
            delay = max(0.01, min(due) - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    @property
    def _is_short(self) -> bool:
        number = len(self._ready) + len(self._starts)
        return number < self._least or (self._wanted and number < self._most)

    def _look(self) -> None:
        now = time.monotonic()
        if self._is_short and now >= self._not_before:
            self._wanted = False
            self._start()
        for worker in self.workers:
            if worker.in_flight:
                self._since[worker.id] = now
            elif len(self._ready) > self._least and now - self._since[worker.id] >= self._idle:
                self._stop(worker, IDLE_GRACE)
        self._arm()

    def _stop(self, worker: Worker, grace: float) -> None:
        self._forget(worker)
        self._leaving[worker.id] = worker
        stop = asyncio.get_running_loop().create_task(worker.stop(grace), name=f"stop of worker {worker.id}")
        self._stops.add(stop)
        stop.add_done_callback(self._stops.discard)

    def _forget(self, worker: Worker) -> None:
        self._ready.pop(worker.id, None)
        self._since.pop(worker.id, None)

    def __repr__(self) -> str:
        if self._closed:
            return "<Pool, closed>"
        state = f"{len(self._ready)} workers ready, {len(self._starts)} starting, {self._least} to {self._most}"
        return f"<Pool of {self._spec.name}: {state}{f'; {self.problem}' if self.problem else ''}>"
