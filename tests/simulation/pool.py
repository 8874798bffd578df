"""A pool as the dispatch and the subscription see it: workers start late, sometimes not, stop when idle, and are
replaced when the code is loaded again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headrace.functions.errors import TargetError
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.process import Death
from headrace.sandbox.wire import Report
from simulation.batches import BatchWorker
from simulation.handler import Handler
from simulation.worker import SimulatedWorker

if TYPE_CHECKING:
    from simulation.node import Node


class SimulatedPool:
    """What `Dispatch` and `Subscription` know as a `Pool`. `generation` is that of the code which starts now."""

    def __init__(self, node: Node, spec: FunctionSpec, listener: Any) -> None:
        self.node = node
        self.spec = spec
        self.handler = Handler(node.world, spec)
        self.problem: str | None = None
        self.starting = 0
        self.generation = 0
        self.bodies: list[SimulatedWorker] = []
        self._ready: list[SimulatedWorker] = []
        self._fresh: list[SimulatedWorker] = []  # tried out, and not yet taken on
        self._listener = listener
        self._closed = False
        self._random = node.world.random
        self._loop = node.world.loop
        self._waiters: list[Any] = []

    @property
    def workers(self) -> list[SimulatedWorker]:
        """Those that take work."""
        return list(self._ready)

    @property
    def leaving(self) -> list[SimulatedWorker]:
        """Those that take no more work."""
        return [worker for worker in self.bodies if worker not in self._ready]

    async def open(self) -> None:
        """See `Pool.open`."""
        for _ in range(self.spec.workers[0]):
            self.demand()

    def demand(self) -> None:
        """See `Pool.demand`."""
        if not self._closed and len(self._ready) + self.starting < self.spec.workers[1]:
            self._start()

    async def close(self, grace: float) -> None:
        """See `Pool.close`."""
        self._closed = True
        for worker in list(self._ready):
            self._stop(worker, grace)
        for worker in self._fresh:
            worker.end(grace)
        while self.bodies:
            await self.changed()

    async def try_out(self, _spec: Any) -> SimulatedWorker | None:
        """See `Pool.try_out`."""
        if not self._ready and not self.starting:
            return None
        await asyncio.sleep(self._random.choice([0.001, 0.01, 0.1]))
        if self._closed:
            raise TargetError("the pool was closed")
        if self.node.world.troubled and self._random.random() < 0.1:
            raise TargetError("importing it failed")
        worker = self._made(self.generation + 1)
        self._fresh.append(worker)
        return worker

    def renew(self, _spec: Any, fresh: SimulatedWorker | None, *, least: int, most: int, idle: float) -> None:
        """See `Pool.renew`. What it has of other sizes stays: the scenario's functions do not change."""
        _ = least, most, idle
        self.generation += 1
        waits = self.problem is not None or self.starting > 0
        for worker in list(self._ready):
            if worker.in_flight and self._random.random() < 0.5:
                self.node.world.census.saw("recalled by a reload")
                worker.recall()
            self._stop(worker, self._random.choice([0.1, 5.0]))
        if fresh is not None:
            self._fresh.remove(fresh)
            self._welcome(fresh)
        elif waits:
            self._start()

    async def changed(self) -> None:
        """Wait until a worker has gone."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    # -- what workers do ----------------------------------------------------------------------------------------------

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

    # -- starting and stopping ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.starting += 1
        self._loop.call_later(self._random.choice([0.001, 0.01, 0.1]), self._born, self.generation)

    def _born(self, generation: int) -> None:
        self.starting -= 1
        if self._closed or generation != self.generation:  # its code was replaced while it started
            return
        if self.node.world.troubled and self._random.random() < 0.1:
            self.node.world.census.saw("worker could not be started")
            self.problem = "importing it failed"
            self._loop.call_later(0.5, self.demand)
            self._listener.start_failed(self.problem)
            return
        if len(self._ready) < self.spec.workers[1]:
            self._welcome(self._made(generation))

    def _made(self, generation: int) -> SimulatedWorker:
        number = self.node.world.next_number()
        kind = BatchWorker if self.spec.batch else SimulatedWorker
        worker = kind(self, number, generation, self._loop.process(f"worker {number}"))
        self.bodies.append(worker)
        return worker

    def _welcome(self, worker: SimulatedWorker) -> None:
        self.problem = None
        if not worker.alive:
            return
        if self._closed:
            worker.end(0.0)
            return
        self._ready.append(worker)
        if self.spec.idle:
            self._loop.call_later(self.spec.idle, self._look, worker)
        self._listener.worker_ready(worker)

    def _look(self, worker: SimulatedWorker) -> None:
        if worker in self._ready and not worker.in_flight and len(self._ready) > self.spec.workers[0]:
            self._stop(worker, 5.0)
        elif worker in self._ready:
            self._loop.call_later(self.spec.idle, self._look, worker)

    def _stop(self, worker: SimulatedWorker, grace: float) -> None:
        self._ready.remove(worker)
        worker.end(grace)

    def __repr__(self) -> str:
        return f"<pool of {self.spec.name} on {self.node.name}, generation {self.generation}: {self._ready}>"
