"""A runtime: the shipped engine in a simulated process, and what it takes to kill, freeze and restart it.

The only place that knows how an engine is put together.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from headrace.functions.errors import BrokerError
from headrace.runtime.dispatch import Dispatch
from headrace.runtime.engine import Engine
from headrace.runtime.plan import Plan
from headrace.sandbox.manifest import FunctionSpec, Manifest
from headrace.triggers.brokers.memory import MemoryLog
from simulation.observed import ObservedLog, Observer
from simulation.pool import SimulatedPool
from simulation.worker import SimulatedWorker

if TYPE_CHECKING:
    from simulation.world import World

APP = "sim"
SESSION_S = 6.0

_COUNTED = {"at append", "at settle", "at progress", "for good"}


class Node:
    """One runtime of the scenario, through all its lives."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.life = 0
        self.up = False
        self.opened = False
        self.stopping = False
        self._reloading: asyncio.Task[None] | None = None
        self.gone = False  # for good
        self.cut_until = 0.0
        self.process = world.loop.process(name)
        self.log: MemoryLog
        self.engine: Engine
        self._pools: list[SimulatedPool] = []
        self._functions = world.functions

    @property
    def frozen(self) -> bool:
        """Whether it is stopped by a signal."""
        return self.process.frozen

    @property
    def specs(self) -> dict[str, FunctionSpec]:
        """The functions that it serves, by group."""
        return {self.world.group(spec.name): spec for spec in self._functions}

    @property
    def is_old(self) -> bool:
        """Whether it runs, and not what was deployed last."""
        return self.up and self._functions is not self.world.functions

    def bodies(self) -> list[SimulatedWorker]:
        """Its workers that are alive."""
        return [worker for pool in self._pools for worker in pool.bodies if worker.alive]

    def boot(self) -> None:
        """Start it, if it is down."""
        if self.up or self.gone:
            return
        self.life += 1
        self.up, self.opened, self.stopping, self._reloading = True, False, False, None
        self._pools = []
        self._functions = self.world.functions
        self.process = self.world.loop.process(f"{self.name}.{self.life}")
        self.world.trace(self.name, "boots")
        self.process.start(self._serve())

    def kill(self, why: str = "kill -9") -> None:
        """Nothing of it runs on, nothing is cleaned up; its workers die with it."""
        if not self.up:
            return
        self.world.trace(self.name, "dies:", why)
        self.world.census.saw(f"owner killed{f' {why}' if why in _COUNTED else ''}")
        self.up = False
        self.process.kill()
        for pool in self._pools:
            for worker in pool.bodies:
                worker.vanish()
        self.log.kill(at_once=self.world.random.random() < 0.6)  # as the embedded log sees it, or as Kafka does
        self.world.witness.sessions.died_unclean(self)

    def leave(self) -> None:
        """It is gone, and does not come back."""
        self.gone = True
        self.kill("for good")

    def freeze(self) -> None:
        """SIGSTOP."""
        if self.up and not self.frozen:
            self.world.trace(self.name, "freezes")
            self.process.frozen = True
            self.log.freeze()
            self.world.census.saw("owner frozen")
            self.world.witness.sessions.froze(self)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.up and self.frozen:
            self.world.trace(self.name, "thaws")
            self.process.frozen = False
            self.log.thaw()

    def stop(self, drain_s: float) -> None:
        """SIGTERM."""
        if self.up and self.opened and not self.stopping:
            self.world.trace(self.name, "is asked to stop")
            self.stopping = True
            self.process.start(self._stop(drain_s))

    def renew(self) -> None:
        """A deployment has it start again, with the code of now."""
        if not self.is_old or self.stopping:
            return
        if self.opened:
            self.stop(0.1)
        else:
            self.kill("for a deployment")
            self.world.later(0.05, self.boot)

    def reload(self) -> None:
        """The code has changed; it learns it when it can."""
        if self.up and self.opened and not self.stopping and self._reloading is None:
            self.process.start(self._reload())

    async def _reload(self) -> None:
        self._reloading = asyncio.current_task()
        self.world.trace(self.name, "reloads")
        self.world.census.saw("reload")
        plan = replace(self._plan(), worker=lambda spec, _outlets: spec)  # type: ignore[arg-type,return-value]
        with suppress(BrokerError):
            reloaded = await self.engine.reload(plan, 1.0)
            if reloaded.failed:
                self.world.census.saw("reload refused")
        self._reloading = None

    async def _serve(self) -> None:
        world, scenario = self.world, self.world.scenario
        self.log = MemoryLog(
            world.disk,
            world.clock,
            world.faults,
            name=f"{self.name}.{self.life}",
            session_s=SESSION_S,
            progress_limit=scenario.limits.progress,
            idle_s=scenario.detour.idle_s,
        )
        dice = Random(world.random.random())
        log: Any = ObservedLog(self.log, self)
        self.engine = Engine(self._plan(), log, world.clock, Observer(self), dice)
        try:
            await self.engine.open()
        except BrokerError as error:
            self.world.later(0.5, self.boot)
            self.world.in_world(self.kill, f"cannot start: {error}")
        else:
            self.opened = True

    def _plan(self) -> Plan:
        manifest = Manifest(self._functions, "code")
        return Plan(APP, manifest, self._pool, watched=self.world.scenario.watched)  # type: ignore[arg-type]

    async def _stop(self, drain_s: float) -> None:
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait([self._reloading])
        await self.engine.close(drain_s)
        await self.log.close()
        self.up = False
        self.world.trace(self.name, "has stopped")
        self.world.census.saw("owner stopped in order")
        if self.bodies():
            self.world.witness.fail(f"revoke: {self.name} has stopped, and has workers left")
        self.world.later(0.5, self.boot)

    def _pool(self, spec: FunctionSpec, _partitions: dict[str, int], dispatch: Dispatch) -> SimulatedPool:
        pool = SimulatedPool(self, spec, dispatch)
        self._pools.append(pool)
        return pool

    def __repr__(self) -> str:
        return f"<Node {self.name}, life {self.life}: {self.process!r}>"
