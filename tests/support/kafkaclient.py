"""What tests of the Kafka broker share: quick settings, a runtime that notes what it is told, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TypeVar
from uuid import uuid4

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Append, Assigned, Fetched, Member, Partition, Record
from headrace.triggers.brokers.kafka import KafkaLog, KafkaSettings

PATIENCE = 60.0

T = TypeVar("T")
_NUMBERS = count()


def quick(bootstrap: str, **changes: object) -> KafkaSettings:
    """Settings with short times, so that what is waited for comes soon."""
    times = {"timeout_s": 15.0, "session_timeout_s": 10.0, "heartbeat_s": 0.1, "metadata_max_age_s": 2.0}
    return KafkaSettings(bootstrap, **{**times, **changes})  # type: ignore[arg-type]


def fresh(name: str) -> str:
    """A name nobody has used: of a topic or a group on a shared broker."""
    return f"{name}-{uuid4().hex[:8]}-{next(_NUMBERS)}"


class Runtime:
    """A `Rebalance` that seeks what it is given to where it was left."""

    def __init__(self) -> None:
        self.owned: dict[Partition, Assigned] = {}
        self.history: list[tuple[str, list[Partition]]] = []
        self.member: Member | None = None

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        self.history.append(("assigned", [one.partition for one in partitions]))
        for one in partitions:
            self.owned[one.partition] = one
            if self.member is not None:
                self._seek(one)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        self.history.append(("revoked", list(partitions)))
        for partition in partitions:
            self.owned.pop(partition, None)

    async def join(self, log: KafkaLog, group: str, *topics: str, transactional: bool = False) -> Member:
        self.member = await log.join(group, topics, self, transactional=transactional)
        for one in self.owned.values():
            self._seek(one)
        return self.member

    def _seek(self, one: Assigned) -> None:
        assert self.member is not None
        self.member.seek(one.partition, one.bounds.start if one.watermark is None else one.watermark)


async def until(condition: Callable[[], bool], log: KafkaLog) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await log.changed(0.02)


async def persist(call: Callable[[], Awaitable[T]], log: KafkaLog) -> T:
    """Call again while the broker is unavailable."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                await asyncio.sleep(0)


async def polled(member: Member, enough: Callable[[list[Fetched]], bool]) -> list[Fetched]:
    """Poll, also through outages, until there is enough."""
    found: list[Fetched] = []
    async with asyncio.timeout(PATIENCE):
        while not enough(found):
            try:
                found += await member.poll(500)
            except BrokerUnavailable:
                await asyncio.sleep(0)
    return found


async def poll_for_ever(member: Member) -> None:
    """Poll until that fails."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await member.poll(10)


def values(found: Sequence[Fetched]) -> list[bytes | None]:
    """The values in what was fetched."""
    return [record.value for fetched in found for record in fetched.records]


async def everything(log: KafkaLog, partition: Partition) -> list[Record]:
    """All records of a partition."""
    end = (await log.topics())[partition[0]].bounds[partition[1]].end
    records: list[Record] = []
    position = 0
    while position < end:
        fetched = await log.read(partition, position, 500)
        records += fetched.records
        position = fetched.next
    return records


def append(topic: str, value: bytes | None, *, partition: int = 0, key: bytes | None = None) -> Append:
    """A plain record."""
    return Append(topic, partition, 1_700_000_000_000, key, value, b"")
