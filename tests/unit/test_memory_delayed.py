"""Delayed delivery in memory is on the clock of the test, and nothing else."""

from __future__ import annotations

import pytest

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Append, Position, Ticket, TopicSpec
from headrace.triggers.brokers.memory import Disk, Faults, MemoryLog, VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def disk(clock) -> Disk:
    disk = Disk()
    await MemoryLog(disk, clock).ensure([TopicSpec("t", 1)])
    return disk


def values(disk: Disk) -> list[bytes | None]:
    return [record.value for record in disk.journal(("t", 0)).records]


def after(clock: VirtualClock, seconds: float, value: bytes) -> Append:
    return Append("t", 0, 0, None, value, b"", clock.now_ms() + round(seconds * 1000))


async def test_it_comes_at_its_very_millisecond(disk, clock):
    log = MemoryLog(disk, clock)
    await log.append([after(clock, 3600, b"hour"), after(clock, 1, b"second")])
    clock.advance(0.999)
    assert values(disk) == []
    clock.advance(0.001)
    assert values(disk) == [b"second"]
    clock.advance(3599)
    assert values(disk) == [b"second", b"hour"]
    assert disk.journal(("t", 0)).times == [1_700_000_001_000, 1_700_003_600_000]


async def test_what_comes_to_be_due_sooner_is_not_late(disk, clock):
    log = MemoryLog(disk, clock)
    await log.append([after(clock, 10, b"late")])
    await log.append([after(clock, 1, b"soon")])
    clock.advance(1)
    assert values(disk) == [b"soon"]


async def test_a_frozen_client_brings_nothing_in_until_it_is_thawed(disk, clock):
    for other in list(disk.watchers):
        del disk.watchers[other]  # nobody but this one
    log = MemoryLog(disk, clock)
    await log.append([after(clock, 1, b"x")])
    log.freeze()
    clock.advance(5)
    assert values(disk) == []
    log.thaw()
    clock.advance(1)
    assert values(disk) == [b"x"]


async def test_who_is_killed_leaves_it_to_the_others_and_to_those_who_come(disk, clock):
    one, two = MemoryLog(disk, clock), MemoryLog(disk, clock)
    await one.append([after(clock, 1, b"first"), after(clock, 9, b"second")])
    one.kill()
    clock.advance(1)
    assert values(disk) == [b"first"]
    two.kill()
    clock.advance(20)
    late = MemoryLog(disk, clock)
    clock.advance(0)
    assert values(disk) == [b"first", b"second"]
    await late.close()


async def test_a_lost_answer_to_what_waits_is_found_again(disk, clock):
    class Lose(Faults):
        def after(self, step):
            raise BrokerUnavailable("the answer was lost")

    appends = [after(clock, 1, b"x")]
    with pytest.raises(BrokerUnavailable):
        await MemoryLog(disk, clock, Lose()).append(appends, ticket=Ticket("p", 0))
    again = await MemoryLog(disk, clock).append(appends, ticket=Ticket("p", 0))
    assert list(again) == [Position("t", 0, -1)]
    clock.advance(5)
    assert values(disk) == [b"x"]
