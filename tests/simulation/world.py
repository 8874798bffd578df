"""One seed: a scenario, its trouble, and how it ended."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Any

import structlog

from headrace.functions.names import dead_letter_topic_of, group_of
from headrace.functions.partition import partition_of
from headrace.runtime import dispatch, subscription
from headrace.runtime.ports import Append, Assigned, Partition, Settlement, TopicSpec
from headrace.sandbox.manifest import FunctionSpec, Grants, RetryPolicy
from headrace.triggers.brokers.memory import Disk
from headrace.triggers.brokers.memory.group import Group
from simulation.loop import Deadlock, SimulatedClock, SimulatedLoop
from simulation.node import APP, Node
from simulation.trouble import DrawnFaults, Plague, plague
from simulation.witness import BrokenPromise, Witness

FETCH = 8
MOST_EVENTS = 16
MOST_STEPS = 150_000
PATIENCE_S = 900.0
TRACE = 40

_GRANTS = Grants(256 << 20, None, "none", False, {}, [], [], False, 64 << 20, False)


@dataclass(frozen=True)
class Scenario:
    """What the seed drew."""

    functions: list[FunctionSpec]
    topics: dict[str, int]  # with their partitions
    inputs: list[str]
    runtimes: int
    transactional: bool
    events: int
    keys: int
    every_s: float
    plague: Plague

    @classmethod
    def draw(cls, random: Random) -> Scenario:
        """A scenario."""
        inputs = [f"in{n}" for n in range(random.choice([1, 1, 2, 3]))]
        outputs = ["out0", "out1"]
        topics = {name: random.randint(1, 4) for name in inputs} | {name: random.randint(1, 2) for name in outputs}
        functions = [_function(random, 0, inputs, outputs[: random.choice([1, 2])])]
        if random.random() < 0.25:
            functions.append(_function(random, 1, ["out0"], ["out1"] if random.random() < 0.5 else []))
        return cls(
            functions,
            topics,
            inputs,
            runtimes=random.choice([1, 1, 2, 3]),
            transactional=random.random() < 0.5,
            events=random.choice([8, 20, 40, 80]),
            keys=random.choice([1, 3, 6]),
            every_s=random.choice([0.0, 0.01, 0.1, 0.3, 0.6]),
            plague=Plague.draw(random),
        )


def _function(random: Random, number: int, topics: list[str], emits: list[str]) -> FunctionSpec:
    retry = RetryPolicy(random.choice([1, 2, 3, 4]), random.choice([0.0, 0.05, 0.5]), 2.0, 2.0, "full", None)
    return FunctionSpec(
        name=f"f{number}",
        topics=topics,
        emits={topic: [] for topic in emits},
        types=[],
        file="functions.py",
        line=1,
        doc="",
        is_async=True,
        retry=[retry],
        timeout=random.choice([0.5, 1.0]),
        order=random.choice(["key", "key", "key", "partition", "none"]),
        concurrency=random.choice([1, 1, 2, 4]),
        workers=random.choice([(0, 1), (1, 1), (0, 3), (2, 3)]),
        idle=random.choice([0.3, 5.0]),
        unmatched="skip",
        guarantee="at-least-once",
        dead_letter=None,
        discard="not needed" if random.random() < 0.1 else None,
        max_hops=16,
        start=None,
        grants=_GRANTS,
        explicit=[],
        schema=None,
    )


@dataclass(frozen=True)
class Verdict:
    """How a seed ended. `digest` is that of the whole trace; `trace` its end; `broken` says what was not kept."""

    seed: int
    steps: int
    events: int
    digest: str
    broken: str | None
    trace: list[str] = field(repr=False)

    def __str__(self) -> str:
        if self.broken is None:
            return f"seed {self.seed}: {self.steps} steps, {self.events} events, trace {self.digest}: all promises kept"
        trace = "\n".join(f"    {line}" for line in self.trace)
        return (
            f"seed {self.seed}, step {self.steps}: {self.broken}\n  the last {len(self.trace)} lines of the trace "
            f"({self.digest}):\n{trace}\n  replay: make simulate SEEDS={self.seed}"
        )


class _WitnessedDisk(Disk):
    """A disk that tells the witness which settlement is about to be written, and who owns what."""

    witness: Witness

    def check(self, settlement: Settlement, members: Any) -> None:
        """See `Disk.check`."""
        super().check(settlement, members)
        self.witness.settlements[settlement.group, settlement.partition] = settlement

    def claim(self, group: str, partition: Partition, member: str) -> Assigned:
        """See `Disk.claim`."""
        assigned = super().claim(group, partition, member)
        self.witness.claimed(group, partition, member, assigned.epoch)
        return assigned


class World:
    """Everything of one seed."""

    most_held = MOST_EVENTS + FETCH

    def __init__(self, seed: int, lines: int = TRACE) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.scenario = Scenario.draw(self.random)
        self.troubled = True
        self.loop = SimulatedLoop(self.random)
        self.clock = SimulatedClock(self.loop)
        self.disk = _WitnessedDisk(transactional=self.scenario.transactional)
        self.witness = self.disk.witness = Witness(self)
        self.faults = DrawnFaults(self, self.scenario.plague)
        self.nodes: list[Node] = []
        self._trace: deque[str] = deque(maxlen=lines)
        self._digest = blake2b(digest_size=8)
        self._number = 0
        self._groups = {group_of(APP, spec.name): spec for spec in self.scenario.functions}

    # -- what its parts ask -------------------------------------------------------------------------------------------

    def trace(self, *parts: object) -> None:
        """Something happened."""
        line = f"{self.loop.steps:6} {self.loop.now - 1000:9.4f} " + " ".join(map(str, parts))
        self._trace.append(line)
        self._digest.update(line.encode())

    def next_number(self) -> int:
        """A number that nothing else has."""
        self._number += 1
        return self._number

    def group(self, function: str) -> str:
        """A function's group."""
        return group_of(APP, function)

    def dead_letters_of(self, group: str) -> str | None:
        """Where a group's dead letters go."""
        spec = self._groups[group]
        return None if spec.discard else dead_letter_topic_of(APP, spec.name)

    def node_of(self, client: str) -> Node:
        """Whose client that is."""
        return next(node for node in self.nodes if client.startswith(f"{node.name}."))

    def in_world(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call it as the world does, whoever is running."""
        self.loop.world.context.copy().run(callback, *arguments)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call it in a while."""
        self.loop.world.call_at(self.loop.now + seconds, callback)

    def rebalance(self, random: Random) -> None:
        """Move a partition, or take one away and give it back."""
        group, spec = random.choice(list(self._groups.items()))
        seats = list(Group.of(self.disk, group).seats)
        topic = random.choice(spec.topics)
        partition = (topic, random.randrange(self.scenario.topics[topic]))
        if seats and random.random() < 0.7:
            Group.of(self.disk, group).rebalance({partition: random.choice(seats)})
        else:
            Group.of(self.disk, group).rebalance(bounced=[partition])

    # -- its course ---------------------------------------------------------------------------------------------------

    def run(self) -> Verdict:
        """From the first event to the last."""
        self.loop.on_step = self._check_step
        broken: str | None = None
        try:
            with _small_limits(), _silence():
                self.loop.run_until_complete(self.loop.world.start(self._course()))
        except (BrokenPromise, Deadlock) as error:
            broken = str(error)
        finally:
            asyncio.set_event_loop(None)
            self.loop.bury()
        return Verdict(
            self.seed, self.loop.steps, self.witness.events, self._digest.hexdigest(), broken, list(self._trace)
        )

    def _check_step(self) -> None:
        if self.witness.broken is not None:
            raise self.witness.broken
        if self.loop.uncaught:
            raise BrokenPromise(f"an error escaped into the event loop: {self.loop.uncaught}")
        if self.loop.steps > MOST_STEPS:
            raise BrokenPromise(f"no end after {MOST_STEPS} steps; unfinished: {self.witness.unfinished()[:5]}")

    async def _course(self) -> None:
        scenario = self.scenario
        for group, spec in self._groups.items():
            self.witness.specs[group] = spec
            Group.of(self.disk, group)  # here and now, so that the coordinator belongs to no runtime
        self.disk.watchers[self.witness] = self.witness.wrote
        self.disk.ensure([TopicSpec(name, count) for name, count in scenario.topics.items()])
        self.nodes += [Node(self, f"r{n}") for n in range(scenario.runtimes)]
        for node in self.nodes:
            self.later(self.random.choice([0.0, 0.0, 1.0]), node.boot)
        trouble = self.loop.create_task(plague(self, scenario.plague))
        await self._produce()
        await asyncio.sleep(self.random.choice([0.5, 3.0, 10.0]))
        trouble.cancel()
        self._calm()
        await self._until_done()

    async def _produce(self) -> None:
        scenario, random = self.scenario, self.random
        for _ in range(scenario.events):
            await asyncio.sleep(random.expovariate(1 / scenario.every_s) if scenario.every_s else 0.0)
            topic = random.choice(scenario.inputs)
            number = random.randrange(scenario.keys + 1)
            key = f"key{number}".encode() if number else None
            count = scenario.topics[topic]
            partition = partition_of(key, count) if key else random.randrange(count)
            self.disk.apply([Append(topic, partition, self.clock.now_ms(), key, b"{}", b"")], self.clock.now_ms())

    def _calm(self) -> None:
        self.trace("all is calm from here on")
        self.troubled = False
        for node in self.nodes:
            node.thaw()
            node.boot()

    async def _until_done(self) -> None:
        deadline = self.loop.now + PATIENCE_S
        while unfinished := self.witness.unfinished():
            if self.loop.now > deadline:
                engines = "; ".join(repr(getattr(node, "engine", None)) for node in self.nodes)
                raise BrokenPromise(
                    f"nothing lost: {PATIENCE_S:g} s after all was calm these are not done: {unfinished[:5]}; "
                    f"{engines}; tasks that failed: {self.loop.failed_tasks()}"
                )
            await asyncio.sleep(0.5)
        if failed := self.loop.failed_tasks():
            raise BrokenPromise(f"tasks failed: {failed}")


def run(seed: int, lines: int = TRACE) -> Verdict:
    """Run a seed; keep so many lines of its trace."""
    collecting = gc.isenabled()
    gc.disable()  # when garbage is collected must not depend on what ran before
    try:
        return World(seed, lines).run()
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _small_limits() -> Iterator[None]:
    before = subscription.FETCH, subscription.MOST_EVENTS
    dispatch._chunk_ids = count(1)  # they come into the trace
    subscription.FETCH, subscription.MOST_EVENTS = FETCH, MOST_EVENTS
    try:
        yield
    finally:
        subscription.FETCH, subscription.MOST_EVENTS = before


@contextmanager
def _silence() -> Iterator[None]:
    """A simulated runtime warns of what is the simulation's daily bread."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
