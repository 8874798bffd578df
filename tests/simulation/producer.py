"""The producer: what is written to the input topics, with keys and without, tombstones, and gaps between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.functions.partition import partition_of
from headrace.runtime.ports import Append, Partition
from headrace.sandbox.headers import Header, pack
from simulation.note import is_retry

if TYPE_CHECKING:
    from simulation.world import World


_HEADERS: list[list[Header]] = [
    [],
    [("ce_type", b"Order"), ("x", b"\xff"), ("x", b"2")],
    [("headrace-root", b"r"), ("traceparent", b""), ("headrace-cause", b"c")],
]


async def produce(world: World) -> None:
    """Write all events of the scenario, one after another."""
    scenario, random = world.scenario, world.random
    for _ in range(scenario.events):
        await asyncio.sleep(random.expovariate(1 / scenario.every_s) if scenario.every_s else 0.0)
        now_ms = world.clock.now_ms()
        world.disk.apply([_draw(world, now_ms)], now_ms)
        if random.random() < scenario.gaps:
            tear(world)


def tear(world: World) -> None:
    """A gap in some topic: markers at its end, or records that are compacted away, read or not."""
    random = world.random
    name = random.choice([*world.scenario.topics, *world.retry_topics])
    partition = (name, random.randrange(len(world.disk.topic(name).journals)))
    if random.random() < 0.5 or is_retry(name):  # retry topics are kept for ever
        world.disk.mark(partition, random.choice([1, 1, 3]))
        world.census.saw("markers in the log")
    elif found := _late_records(world, partition):
        world.disk.compact(partition, random.sample(found, min(len(found), random.choice([1, 1, 2, 4]))))


def _late_records(world: World, partition: Partition) -> list[int]:
    """The last records but one of a partition: those that may not have been read."""
    return [record.offset for record in world.disk.journal(partition).records[-9:-1]]


def _draw(world: World, now_ms: int) -> Append:
    scenario, random = world.scenario, world.random
    topic = random.choice(scenario.inputs)
    number = random.randrange(scenario.keys + 1)
    key = f"key{number}".encode() if number else None
    count = scenario.topics[topic]
    partition = partition_of(key, count) if key else random.randrange(count)
    value = None if random.random() < scenario.nulls else b"{}"
    headers = pack(random.choice(_HEADERS)) if scenario.headers else b""
    return Append(topic, partition, now_ms, key, value, headers)
