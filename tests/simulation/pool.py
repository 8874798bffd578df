"""A pool as the dispatch and the subscription see it: workers start late, sometimes not, stop when idle, and are
replaced when the code is loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        self._serving = 0  # the newest generation of which there was a worker
        self.bodies: list[SimulatedWorker] = []
        self._ready: list[SimulatedWorker] = []
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
        while self.bodies:
            await self.changed()

    def reload(self) -> None:
        """The code has changed. Workers of the old take work until one of the new is there, and then finish theirs."""
        if not self._closed:
            self.node.world.census.saw("reload")
            self.node.world.trace(self.node.name, "reloads", self.spec.name)
            self.generation += 1
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
        if self._closed:
            return
        if self.node.world.troubled and self._random.random() < 0.1:
            self.node.world.census.saw("worker could not be started")
            self.problem = "importing it failed"
            self._loop.call_later(0.5, self._try_again)
            self._listener.start_failed(self.problem)
            return
        self.problem = None
        if generation < self._serving:  # its code was replaced while it started
            self.demand()
            return
        if sum(one.generation == generation for one in self._ready) >= self.spec.workers[1]:
            return
        self._serving = generation
        number = self.node.world.next_number()
        kind = BatchWorker if self.spec.batch else SimulatedWorker
        worker = kind(self, number, generation, self._loop.process(f"worker {number}"))
        self.bodies.append(worker)
        self._replace(generation)
        self._ready.append(worker)
        if self.spec.idle:
            self._loop.call_later(self.spec.idle, self._look, worker)
        self._listener.worker_ready(worker)

    def _try_again(self) -> None:
        if not self._closed and self._serving < self.generation:
            self._start()
        else:
            self.demand()

    def _replace(self, generation: int) -> None:
        """Workers of older code take no more work: they finish what they have, or what they are running."""
        for worker in [one for one in self._ready if one.generation < generation]:
            if worker.in_flight and self._random.random() < 0.5:
                self.node.world.census.saw("recalled by a reload")
                worker.recall()
            self._stop(worker, self._random.choice([0.1, 5.0]))

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
