"""One seed: a scenario, its trouble, and how it ended."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any

import structlog

from headrace.functions.names import dead_letter_topic_of, group_of
from simulation.census import Census
from simulation.course import course
from simulation.disk import WitnessedDisk
from simulation.loop import Deadlock, SimulatedClock, SimulatedLoop
from simulation.node import APP, Node
from simulation.note import is_retry
from simulation.promise import BrokenPromise
from simulation.scenario import Scenario
from simulation.trouble import DrawnFaults
from simulation.witness import Witness

MOST_STEPS = 600_000
TRACE = 40


@dataclass(frozen=True)
class Verdict:
    """How a seed ended. `digest` is that of the whole trace; `trace` its end; `broken` says what was not kept.

    `census` counts what happened.
    """

    seed: int
    steps: int
    events: int
    digest: str
    broken: str | None
    census: Counter[str] = field(repr=False)
    trace: list[str] = field(repr=False)

    def __str__(self) -> str:
        if self.broken is None:
            return f"seed {self.seed}: {self.steps} steps, {self.events} events, trace {self.digest}: all promises kept"
        trace = "\n".join(f"    {line}" for line in self.trace)
        return (
            f"seed {self.seed}, step {self.steps}: {self.broken}\n  the last {len(self.trace)} lines of the trace "
            f"({self.digest}):\n{trace}\n  replay: make simulate SEEDS={self.seed}"
        )


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, lines: int = TRACE) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.scenario = Scenario.draw(self.random)
        self.troubled = True
        self.loop = SimulatedLoop(self.random)
        self.clock = SimulatedClock(self.loop)
        self.census = Census()
        self.functions = self.scenario.functions  # as they are deployed; what they are in all is in `groups`
        self.groups = {group_of(APP, spec.name): spec for spec in self.scenario.functions}
        self.disk = WitnessedDisk(transactional=self.scenario.transactional)
        self.witness = self.disk.witness = Witness(self)
        self.faults = DrawnFaults(self, self.scenario.plague)
        self.nodes: list[Node] = []
        self._trace: deque[str] = deque(maxlen=lines)
        self._digest = blake2b(digest_size=8)
        self._number = 0

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
        spec = self.groups[group]
        return None if spec.discard else dead_letter_topic_of(APP, spec.name)

    @property
    def retry_topics(self) -> list[str]:
        """Those that were made."""
        return [name for name in self.disk.topics if is_retry(name)]

    def followed(self, group: str) -> list[str]:
        """The topics whose events a group has to handle."""
        return [*self.groups[group].topics, *(name for name in self.retry_topics if name.startswith(f"{group}."))]

    def orders(self, function: str) -> set[str]:
        """The orders that a function has, sooner or later."""
        every = [*self.scenario.functions, *self.scenario.later_functions]
        return {spec.order for spec in every if spec.name == function}

    def laxest(self, function: str) -> str:
        """The order that holds whatever is deployed."""
        orders = self.orders(function)
        return "none" if "none" in orders else orders.pop()

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
        group = random.choice(list(self.groups))
        seats = list(self.disk.group(group).seats)
        partition = random.choice(self.disk.partitions(self.followed(group)))
        if seats and random.random() < 0.7:
            self.disk.group(group).rebalance({partition: random.choice(seats)})
        else:
            self.disk.group(group).rebalance(bounced=[partition])

    # -- its course ---------------------------------------------------------------------------------------------------

    def run(self) -> Verdict:
        """From the first event to the last."""
        self.loop.on_step = self._check_step
        broken: str | None = None
        try:
            with self.scenario.limits.kept(), _silence():
                self.loop.run_until_complete(self.loop.world.start(course(self)))
        except (BrokenPromise, Deadlock) as error:
            broken = str(error)
        finally:
            asyncio.set_event_loop(None)
            self.loop.bury()
        return Verdict(
            self.seed,
            self.loop.steps,
            len(self.witness.lives),
            self._digest.hexdigest(),
            broken,
            self.census.counts,
            list(self._trace),
        )

    def _check_step(self) -> None:
        if self.witness.broken is not None:
            raise self.witness.broken
        if self.loop.uncaught:
            raise BrokenPromise(f"an error escaped into the event loop: {self.loop.uncaught}")
        if self.loop.steps > MOST_STEPS:
            raise BrokenPromise(f"no end after {MOST_STEPS} steps; unfinished: {self.witness.unfinished()[:5]}")


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
def _silence() -> Iterator[None]:
    """A simulated runtime warns of what is the simulation's daily bread."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
