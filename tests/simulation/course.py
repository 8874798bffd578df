"""The course of a seed: from the first event to the last, first with trouble and then without."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.runtime.ports import TopicSpec
from simulation.node import Node
from simulation.producer import produce
from simulation.promise import BrokenPromise
from simulation.trouble import plague

if TYPE_CHECKING:
    from simulation.world import World

_SHORTEST_LOOK_S = 0.5
_LONGEST_LOOK_S = 60.0


async def course(world: World) -> None:
    """See the module."""
    scenario, random = world.scenario, world.random
    for group in world.groups:
        world.disk.group(group)  # here and now, so that the coordinator belongs to no runtime
    world.disk.watchers[world.witness] = world.witness.wrote
    world.disk.ensure([TopicSpec(name, count) for name, count in scenario.topics.items()])
    world.nodes += [Node(world, f"r{n}") for n in range(scenario.runtimes)]
    for node in world.nodes:
        world.later(random.choice([0.0, 0.0, 1.0]), node.boot)
    trouble = world.loop.create_task(plague(world, scenario.plague))
    pace = scenario.detour.pace
    if scenario.detour.later_order:
        world.later(random.choice([0.5, 3.0, 10.0]) * pace, lambda: deploy(world))
    await produce(world)
    await asyncio.sleep(random.choice([0.5, 3.0, 10.0]) * pace)
    trouble.cancel()
    _calm(world)
    await _until_done(world)


def deploy(world: World) -> None:
    """New code, in which the first function has another order, reaches one runtime after another."""
    if world.functions is world.scenario.functions:
        world.trace("new code is deployed")
        world.functions = world.scenario.later_functions
        for nth, node in enumerate(world.nodes):
            world.later(nth * world.random.choice([0.0, 1.0, 5.0]), node.renew)


def _calm(world: World) -> None:
    world.trace("all is calm from here on")
    world.troubled = False
    if world.scenario.departs:
        world.nodes[-1].leave()
    for node in world.nodes:
        node.thaw()
        node.boot()
    if world.scenario.detour.later_order:
        deploy(world)


async def _until_done(world: World) -> None:
    deadline, look_s = world.loop.now + world.scenario.detour.patience_s, _SHORTEST_LOOK_S
    while unfinished := world.witness.unfinished() or _unopened(world):
        if world.loop.now > deadline:
            engines = "; ".join(repr(getattr(node, "engine", None)) for node in world.nodes)
            raise BrokenPromise(
                f"nothing lost: {world.scenario.detour.patience_s:g} s after all was calm these are not done: "
                f"{unfinished[:5]}; {engines}; tasks that failed: {world.loop.failed_tasks()}"
            )
        await asyncio.sleep(look_s)
        look_s = min(look_s * 1.2, _LONGEST_LOOK_S)
    if failed := world.loop.failed_tasks():
        raise BrokenPromise(f"tasks failed: {failed}")


def _unopened(world: World) -> list[str]:
    """Runtimes that are on their way: what one of their functions met is not passed on before all have joined."""
    return [f"{node.name} has not opened" for node in world.nodes if not (node.opened or node.gone)]
