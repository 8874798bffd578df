"""Trouble: what goes wrong, how often, and when; drawn from the seed, and none of it once the world is calm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Partition
from headrace.triggers.brokers.memory import Crash, Faults, Step

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.world import World


@dataclass(frozen=True)
class Plague:
    """How bad it is: what happens every so many seconds, and how likely each call of the log goes wrong."""

    acts: tuple[str, ...]
    every_s: float
    refused: float
    lost: float
    crash: float
    slow: float

    @classmethod
    def draw(cls, random: Random, pace: float) -> Plague:
        """The trouble of one scenario: some kinds of it, rarely none; at the pace at which things happen in it."""
        acts = tuple(act for act in _DEEDS if random.random() < 0.5)
        rates = [random.choice([0.0, 0.02, 0.1]) if random.random() < 0.5 else 0.0 for _ in range(3)]
        every_s = random.choice([0.3, 1.0, 3.0]) * pace
        return cls(acts, every_s, rates[0], rates[1], rates[2] / 5, random.choice([0.0, 0.3]))


class DrawnFaults(Faults):
    """Faults of the log, for each step of each runtime."""

    def __init__(self, world: World, plague: Plague) -> None:
        self._world = world
        self._plague = plague
        self._random = world.random

    def before(self, step: Step) -> None:
        """Refuse it, or kill its client."""
        world = self._world
        if not world.troubled:
            return
        node = world.node_of(step.client)
        if world.loop.now < node.cut_until:
            raise BrokerUnavailable("the log cannot be reached (simulated outage)")
        if step.action != "fetch":
            self._crash(step)
        if self._random.random() < self._plague.refused:
            world.census.saw("write refused", step.action not in {"fetch", "read"})
            raise BrokerUnavailable(f"{step.action} failed (simulated)")

    def after(self, step: Step) -> None:
        """Lose the acknowledgement, or kill the client before it gets it."""
        if self._world.troubled:
            self._crash(step)
            # A producer that appends again after a lost acknowledgement appends twice: that is not under test here.
            repeatable = not self._world.disk.transactional or step.action in {"settle", "ensure"}
            if repeatable and self._random.random() < self._plague.lost:
                self._world.census.saw("acknowledgement lost")
                raise BrokerUnavailable(f"the acknowledgement of {step.action} was lost (simulated)")

    def delay(self, step: Step) -> float:
        """Answers of writes come a little late, some very."""
        if self._random.random() < self._plague.slow:
            return self._random.choice([0.001, 0.02, 0.3, 2.0 if self._world.troubled else 0.0])
        return 0.0

    def take(self, step: Step, available: int) -> int:
        """Short batches."""
        return self._random.randint(1, available) if self._random.random() < 0.3 else available

    def rewind(self, step: Step) -> int:
        """Deliver some records a second time."""
        return self._random.randint(1, 5) if self._world.troubled and self._random.random() < 0.02 else 0

    def rebalance(self, step: Step) -> Mapping[Partition, str] | None:
        """Now and then for nothing."""
        if self._world.troubled and "rebalance" in self._plague.acts and self._random.random() < 0.002:
            return {}
        return None

    def _crash(self, step: Step) -> None:
        if self._random.random() < self._plague.crash:
            node = self._world.node_of(step.client)
            self._world.in_world(node.kill, f"at {step.action}")
            raise Crash(f"{step.client} at {step.action} (simulated)")


async def plague(world: World, plague: Plague) -> None:
    """Do this and that, until cancelled."""
    while plague.acts:
        await asyncio.sleep(world.random.expovariate(1 / plague.every_s))
        _DEEDS[world.random.choice(plague.acts)](world, world.random.choice(world.nodes), world.random)


def _kill(world: World, node: Node, random: Random) -> None:
    node.kill()
    world.later(random.choice([0.05, 0.05, 1.0, 8.0]), node.boot)


def _stop(_world: World, node: Node, random: Random) -> None:
    node.stop(random.choice([0.0, 0.1, 5.0]))


def _freeze(world: World, node: Node, random: Random) -> None:
    node.freeze()
    world.later(random.choice([0.1, 6.5, 7.0, 12.0]), node.thaw)


def _kill_a_worker(_world: World, node: Node, random: Random) -> None:
    if bodies := node.bodies():
        random.choice(bodies).die("signalled", "killed by somebody")


def _kill_the_zygote(_world: World, node: Node, _random: Random) -> None:
    for body in node.bodies():
        body.die("zygote", "the zygote died")


def _reload(_world: World, node: Node, _random: Random) -> None:
    node.reload()


def _cut_off(world: World, node: Node, random: Random) -> None:
    node.cut_until = world.loop.now + random.choice([0.2, 2.0, 10.0])


def _rebalance(world: World, _node: Node, random: Random) -> None:
    world.rebalance(random)


_DEEDS: dict[str, Callable[[World, Node, Random], None]] = {
    "kill": _kill,
    "stop": _stop,
    "freeze": _freeze,
    "worker": _kill_a_worker,
    "zygote": _kill_the_zygote,
    "reload": _reload,
    "outage": _cut_off,
    "rebalance": _rebalance,
}
