"""Brokers under the contract. To add one: say here how a client of it is opened, and add it to `BROKERS`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract.kafka_place import emptied, opened
from kafkaserver.java import NoBroker
from kafkaserver.source import shared_broker

from headrace.runtime.clock import SystemClock
from headrace.runtime.ports import Append, Assigned, Fetched, Member, Partition, Record, Store, TopicSpec
from headrace.triggers.brokers.memory import Disk, MemoryLog
from headrace.triggers.brokers.sqlite import SqliteLog

PATIENCE = 60.0

Open = Callable[[], Awaitable[Store]]


@dataclass(frozen=True)
class Kind:
    """A broker and what it can beyond its `Features`. `place` gets a directory and gives what opens clients of one log.

    `moves_only_what_moves`: a rebalance leaves partitions alone that stay where they are. `transactional`: its
    settlements are whole or not at all. `needs`: the fixture whose value `empty` gets first, and `place` then.
    """

    name: str
    place: Callable[[Any], Open]
    moves_only_what_moves: bool = True
    transactional: bool = True
    needs: str = "tmp_path"
    empty: Callable[[Any], Awaitable[None]] | None = None


def _sqlite(directory: Path) -> Open:
    return lambda: SqliteLog.open(directory / "log.db")


def _memory(directory: Path) -> Open:
    return _on(Disk(cluster=str(directory)))


def _memory_like_kafka(directory: Path) -> Open:
    return _on(Disk(cluster=str(directory), transactional=False), progress_limit=4096)


def _kafka(bootstrap: str) -> Open:
    return lambda: opened(bootstrap, transactional=False)


def _kafka_in_transactions(bootstrap: str) -> Open:
    return lambda: opened(bootstrap, transactional=True)


def _on(disk: Disk, progress_limit: int | None = None) -> Open:
    async def open_one() -> Store:
        return MemoryLog(disk, SystemClock(), progress_limit=progress_limit)

    return open_one


BROKERS = [
    Kind("sqlite", _sqlite),
    Kind("memory", _memory),
    Kind("memory-at-least-once", _memory_like_kafka, transactional=False),
    Kind(
        "kafka",
        _kafka,
        moves_only_what_moves=False,
        transactional=False,
        needs="contract_kafka",
        empty=emptied,
    ),
    Kind(
        "kafka-transactional",
        _kafka_in_transactions,
        moves_only_what_moves=False,
        needs="contract_kafka",
        empty=emptied,
    ),
]
_ENVIRONMENT = dict(os.environ)  # as the run was called: each test has its HEADRACE_* taken away


class Handed:
    """A `Rebalance` that notes what it is told, and seeks nothing."""

    def __init__(self) -> None:
        self.assigned_calls: list[list[Assigned]] = []
        self.revoked_calls: list[list[Partition]] = []

    @property
    def partitions(self) -> dict[Partition, Assigned]:
        return {one.partition: one for call in self.assigned_calls for one in call}

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        self.assigned_calls.append(list(partitions))

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        self.revoked_calls.append(list(partitions))


@pytest.fixture(params=BROKERS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The broker under test."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="session")
def contract_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of these tests' own, which may be emptied: never one that was given."""
    environment = {name: value for name, value in _ENVIRONMENT.items() if name != "HEADRACE_TEST_KAFKA"}
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(shared_broker(tmp_path_factory.mktemp("contract-kafka"), environment))
        except NoBroker as reason:
            if _ENVIRONMENT.get("HEADRACE_REQUIRE_KAFKA") == "1":
                pytest.fail(f"HEADRACE_REQUIRE_KAFKA=1, but: {reason}")
            pytest.skip(str(reason))
        yield broker.bootstrap


@pytest.fixture
async def client(kind: Kind, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens one more client of the same log; all are closed at the end."""
    stores: list[Store] = []
    where = request.getfixturevalue(kind.needs)
    if kind.empty is not None:
        await kind.empty(where)
    place = kind.place(where)

    async def open_one() -> Store:
        stores.append(await place())
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


@pytest.fixture
async def broker(client: Open) -> Store:
    """A broker with the topics `orders` (3 partitions) and `emails` (1)."""
    store = await client()
    await store.ensure([TopicSpec("orders", 3), TopicSpec("emails", 1)])
    return store


@pytest.fixture
def join() -> Callable[..., Awaitable[tuple[Member, Handed]]]:
    """Joins a group, and seeks every partition to its watermark, else to its start."""

    async def joined(store: Store, group: str, *topics: str, seek: bool = True) -> tuple[Member, Handed]:
        handed = Handed()
        member = await store.join(group, topics, handed)
        for partition, one in handed.partitions.items():
            if seek:
                member.seek(partition, one.bounds.start if one.watermark is None else one.watermark)
        return member, handed

    return joined


@pytest.fixture
def drain() -> Callable[..., Awaitable[dict[Partition, list[Record]]]]:
    """Polls until `count` records have come."""

    async def drained(member: Member, count: int, limit: int = 500) -> dict[Partition, list[Record]]:
        found: dict[Partition, list[Record]] = {}
        async with asyncio.timeout(PATIENCE):
            while sum(map(len, found.values())) < count:
                for fetched in await member.poll(limit):
                    _extend(found.setdefault(fetched.partition, []), fetched)
        return found

    return drained


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits until a condition holds, for what a group does in its own time."""

    async def waited(store: Store, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await store.changed(0.005)

    return waited


@pytest.fixture
def read_all() -> Callable[[Store, Partition], Awaitable[list[Record]]]:
    """Reads a partition from its start to its end."""

    async def read(store: Store, partition: Partition) -> list[Record]:
        end = (await store.topics())[partition[0]].bounds[partition[1]].end
        records: list[Record] = []
        position = 0
        while position < end:
            fetched = await store.read(partition, position, 100)
            _extend(records, fetched)
            position = fetched.next
        return records

    return read


@pytest.fixture
def order() -> Callable[..., Append]:
    """An append to `orders`, with what is not said left plain."""

    def made(value: bytes | None, *, key: bytes | None = None, partition: int = 0, headers: bytes = b"") -> Append:
        return Append("orders", partition, 1_700_000_000_000, key, value, headers)

    return made


def _extend(records: list[Record], fetched: Fetched) -> None:
    offsets = [record.offset for record in fetched.records]
    assert offsets == sorted(set(offsets))
    assert not offsets or fetched.next > offsets[-1]
    assert not records or not offsets or offsets[0] > records[-1].offset
    records.extend(fetched.records)
