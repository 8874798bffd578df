"""The connection for questions: who leads which partition, which offsets there are, what groups have committed.

It is made at its first use, and made anew when it was found hanging or dead.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from aiokafka import AIOKafkaClient, TopicPartition, errors
from aiokafka.client import CoordinationType
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Bounds, Partition
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.failure import raise_for
from headrace.triggers.brokers.kafka.login import begin_asking
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.putaway import Detached
from headrace.triggers.brokers.kafka.settings import KafkaSettings

LATEST = -1
EARLIEST = -2

_COMMITTED_ONLY = 1  # the end is then the last stable offset: what a reader of committed records can reach
_PAUSE_S = 0.05

T = TypeVar("T")


class Cluster:
    """Questions to a cluster. Calls raise aiokafka's errors; `until_answered` makes them errors of ours."""

    def __init__(self, settings: KafkaSettings, calls: Calls) -> None:
        self._settings = settings
        self._calls = calls
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._detached = Detached()

    def __repr__(self) -> str:
        return f"<Cluster at {self._calls.where}: {'not ' if self._client is None else ''}connected>"

    async def until_answered(self, doing: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer or an error that asking again does not help against, within the calls' time."""
        try:
            async with self._calls.bounded(doing):
                while True:
                    try:
                        return await ask()
                    except errors.KafkaError as error:
                        if not self._may_pass(error):
                            raise
                    await asyncio.sleep(_PAUSE_S)
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                self._abandon()  # it hangs, as far as can be told: the next question is asked on a new connection
            raise

    async def send(self, request: Any, node: int | None = None) -> Any:
        """The answer of a broker, any one by default."""
        client = await self._connected()
        return await client.send(client.get_random_node() if node is None else node, request)

    async def metadata(self) -> Any:
        """What the cluster says of its brokers and all its topics."""
        answer = await self.send(MetadataRequest(None, allow_auto_topic_creation=False))
        (await self._connected()).cluster.update_metadata(answer)
        return answer

    async def metadata_of(self, topics: Iterable[str]) -> Any:
        """What it says of these topics; also that there is one that we may not see."""
        return await self.send(MetadataRequest(list(topics), allow_auto_topic_creation=False))

    async def controller(self) -> int:
        """The broker to send changes to."""
        return int((await self.metadata()).controller_id)

    async def coordinator(self, group: str) -> int:
        """The broker that looks after a group."""
        return int(await (await self._connected()).coordinator_lookup(CoordinationType.GROUP, group))

    async def leaders(self, partitions: Iterable[Partition]) -> dict[int, list[Partition]]:
        """The partitions by the broker that leads them."""
        cluster = (await self._connected()).cluster
        wanted = list(partitions)
        if any(cluster.leader_for_partition(TopicPartition(*one)) in {None, -1} for one in wanted):
            await self.metadata()
        found: dict[int, list[Partition]] = defaultdict(list)
        for one in wanted:
            leader = cluster.leader_for_partition(TopicPartition(*one))
            if leader is None:
                raise errors.UnknownTopicOrPartitionError(f"{one[0]}/{one[1]}")
            if leader == -1:
                raise errors.LeaderNotAvailableError(f"{one[0]}/{one[1]}")
            found[leader].append(one)
        return found

    async def offsets(self, wanted: Mapping[Partition, int]) -> dict[Partition, int]:
        """The first offset at or after each timestamp, -1 if there is none; or those of `EARLIEST` or `LATEST`."""
        by_leader = await self.leaders(wanted)
        answers = await asyncio.gather(
            *(self._offsets_at(leader, [(one, wanted[one]) for one in some]) for leader, some in by_leader.items())
        )
        return {partition: offset for answer in answers for partition, offset in answer.items()}

    async def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, Bounds]:
        """The bounds of partitions; the end is the last stable offset."""
        wanted = list(partitions)
        starts, ends = await asyncio.gather(
            self.offsets(dict.fromkeys(wanted, EARLIEST)), self.offsets(dict.fromkeys(wanted, LATEST))
        )
        return {one: Bounds(starts[one], max(starts[one], ends[one])) for one in wanted}

    async def marks(self, group: str, partitions: Iterable[Partition] | None = None) -> dict[Partition, Mark]:
        """What a group has committed, on these partitions or on all."""
        topics = None if partitions is None else _by_topic((topic, number) for topic, number in partitions)
        answer = await self.send(OffsetFetchRequest(group, topics), await self.coordinator(group))
        raise_for(answer.error_code, f"group {group}")
        found = {}
        for topic, parts in answer.topics:
            for number, offset, metadata, code in parts:
                raise_for(code, f"group {group} on {topic}/{number}")
                if offset >= 0:
                    found[topic, number] = Mark(offset, metadata or "")
        return found

    async def close(self) -> None:
        """Close the connection."""
        self._abandon()
        await self._detached.close()

    def _may_pass(self, error: errors.KafkaError) -> bool:
        if isinstance(error, errors.KafkaConnectionError) and self._client is None:
            return False  # it could not even be found
        return error.retriable and not isinstance(error, errors.UnknownTopicOrPartitionError)

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                client = AIOKafkaClient(**self._settings.client())
                try:
                    await begin_asking(client, self._settings)
                except BaseException:
                    self._put_away(client)
                    raise
                self._client = client
            return self._client

    def _abandon(self) -> None:
        if self._client is not None:
            self._put_away(self._client)
            self._client = None

    def _put_away(self, client: Any) -> None:
        self._detached.put_away(client.close, lambda: inside.kill_client(client))

    async def _offsets_at(self, leader: int, wanted: list[tuple[Partition, int]]) -> dict[Partition, int]:
        topics = _by_topic((topic, (number, at)) for (topic, number), at in wanted)
        try:
            answer = await self.send(OffsetRequest(-1, _COMMITTED_ONLY, topics), leader)
            found = {}
            for topic, parts in answer.topics:
                for number, code, _timestamp, offset in parts:
                    raise_for(code, f"{topic}/{number}")
                    found[topic, number] = offset
        except errors.KafkaError as error:
            if error.invalid_metadata:
                await self.metadata()
            raise
        return found


def _by_topic(items: Iterable[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = defaultdict(list)
    for topic, item in items:
        topics[topic].append(item)
    return list(topics.items())
