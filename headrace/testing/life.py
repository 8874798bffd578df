"""One life of the runtime: the engine on a client of the log and a loop of its own, from its start to its end."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from random import Random

from headrace.runtime.dispatch import Dispatch
from headrace.runtime.engine import Engine
from headrace.runtime.hooks import hooks_of
from headrace.runtime.plan import Plan
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import VERSION, Outlet, Start, Target
from headrace.testing.history import History
from headrace.testing.invocations import LocalBatches, LocalInvocation
from headrace.testing.job import Job
from headrace.testing.loop import LoopClock, VirtualLoop
from headrace.testing.pool import Bench, LocalPool
from headrace.testing.setups import LocalSetup
from headrace.testing.subject import Subject
from headrace.triggers.brokers.memory import Disk, Faults, MemoryLog

_POLL_S = 3600.0  # nobody has to look around: all that happens here is told
_FEED_S = 1.0  # but for a retry topic that is new
_KAFKAS_LIMIT = 3000  # bytes of progress, of the 4096 of text that Kafka takes


@dataclass(frozen=True)
class World:
    """What is there before a life and after it. `complaints` are errors of setups that were closed."""

    subject: Subject
    history: History
    faults: Faults
    dice: Random
    start_ms: int
    timeouts: bool
    complaints: list[BaseException] = field(default_factory=list)


class Life:
    """Begins at `now` (virtual seconds) on the disk. `jobs` is the user code that is to run, in this order."""

    def __init__(self, world: World, disk: Disk, now: float, jobs: deque[Job]) -> None:
        self.loop = VirtualLoop(now)
        self.clock = LoopClock(self.loop, world.start_ms)
        self.jobs = jobs
        self.is_dead = False
        self._world = world
        self._disk = disk
        self._pools: list[LocalPool] = []
        self.log = MemoryLog(
            disk,
            self.clock,
            world.faults,
            name="runtime",
            idle_s=_POLL_S if disk.transactional else _FEED_S,
            progress_limit=None if disk.transactional else _KAFKAS_LIMIT,
            on_kill=self._die,
        )
        plan = Plan(
            world.subject.app, world.subject.manifest, self._pool, watched=True, topics=dict(world.subject.topics)
        )
        self.engine = Engine(plan, self.log, self.clock, hooks_of(world.history), world.dice)
        self._opening = self.loop.create_task(self.engine.open(), name="opening")

    def turn(self) -> None:
        """Have the runtime go on until it waits for user code or for time. Raises what no runtime survives."""
        self.loop.turn()
        if self.is_dead:
            return
        if self._opening.done() and (error := self._opening.exception()) is not None:
            raise error
        if (failure := self.loop.failure) is not None:
            self.loop.failure = None
            raise failure

    @property
    def is_idle(self) -> bool:
        """Whether every event there is, or is still to come, has ended and is settled."""
        if not self._opening.done() or self._disk.delayed:
            return False
        subscriptions = self.engine.subscriptions
        marks = [mark for subscription in subscriptions for mark in subscription.watermarks.items()]
        return all(one.quiet for one in subscriptions) and all(
            mark >= self._disk.journal(partition).end for partition, mark in marks
        )

    def hurry(self) -> None:
        """Try now what failed to be set up, and would be tried again later."""
        for pool in self._pools:
            pool.hurry()

    def leave(self) -> asyncio.Task[None]:
        """Begin to end in order."""
        return self.loop.create_task(self._leave(), name="leaving")

    def farewells(self) -> list[Job]:
        """What closes the setups that are open."""
        return [pool.farewell() for pool in self._pools if pool.is_set_up]

    async def _leave(self) -> None:
        await self.engine.close(0.0)
        await self.log.close()

    def _die(self) -> None:
        self.is_dead = True
        self.loop.stop()

    def _pool(self, spec: FunctionSpec, outlets: dict[str, Outlet], dispatch: Dispatch) -> LocalPool:
        world = self._world
        handler, user_code = world.subject.handlers[spec.name], world.subject.user_code
        start = Start(VERSION, Target("file", "", ""), spec.name, world.subject.app, self.log.cluster, {}, outlets)
        kind = LocalBatches if handler.payload.batch else LocalInvocation
        invocation = kind(handler, user_code, start, self.clock.now_ms)
        setup = LocalSetup(handler.declaration, user_code, world.complaints)
        bench = Bench(invocation, setup, world.history, self.jobs, world.timeouts)
        self._pools.append(pool := LocalPool(bench, dispatch, self.loop))
        return pool

    def __repr__(self) -> str:
        return f"<Life at {self.loop.time():.3f} s, {'dead' if self.is_dead else 'alive'}: {self.engine!r}>"
