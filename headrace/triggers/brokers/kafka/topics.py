"""Topics: which there are, what they are like, and making those that are missing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import errors
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest

from headrace.functions.errors import UnknownTopic
from headrace.functions.partition import partition_of
from headrace.runtime.ports import Append, Bounds, Partition, TopicInfo, TopicSpec
from headrace.triggers.brokers.kafka.afterglow import Afterglow
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.failure import raise_for, unknown_topic
from headrace.triggers.brokers.kafka.logdirs import LogDirsRequest, sizes_of
from headrace.triggers.brokers.kafka.settings import KafkaSettings
from headrace.triggers.brokers.refusal import check_spec, no_partition
from headrace.triggers.brokers.selection import chosen

_CONFIGS = ["retention.ms", "retention.bytes", "cleanup.policy", "max.message.bytes"]
_PAUSE_S = 0.02

T = TypeVar("T")


class Topics:
    """The topics of a cluster. `counts` is how many partitions each had when it was last asked."""

    def __init__(self, settings: KafkaSettings, cluster: Cluster, afterglow: Afterglow) -> None:
        self.counts: dict[str, int] = {}
        self._settings = settings
        self._cluster = cluster
        self._afterglow = afterglow
        self._asked_at = 0.0
        self._turn = 0

    def __repr__(self) -> str:
        return f"<Topics: {len(self.counts)} known>"

    async def require(self, names: Collection[str]) -> None:
        """See that these topics are there. Raises `UnknownTopic`, naming the nearest."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at > self._settings.metadata_max_age_s or not self.counts.keys() >= set(names):
            await self.refresh()
        for name in names:
            if name not in self.counts:
                raise unknown_topic(name, self.counts)

    async def require_partition(self, partition: Partition) -> None:
        """See that this partition is there. Raises `UnknownTopic` or `BrokerError`."""
        topic, number = partition
        await self.require([topic])
        if number >= self.counts[topic]:
            await self.refresh()
        if not 0 <= number < self.counts.get(topic, 0):
            raise no_partition(topic, number, self.counts.get(topic, 0))

    async def placed(self, appends: Sequence[Append]) -> list[Partition]:
        """Where each record goes. Raises `UnknownTopic` or `BrokerError`, naming the culprit."""
        await self.require({append.topic for append in appends})
        for topic, number in {(append.topic, append.partition) for append in appends if append.partition >= 0}:
            await self.require_partition((topic, number))
        return [(append.topic, self._number(append)) for append in appends]

    async def refresh(self, doing: str = "asking for the topics") -> Any:
        """Ask anew, and give the whole answer."""
        answer = await self._cluster.until_answered(doing, self._cluster.metadata)
        self.counts = {name: len(parts) for name, parts in _topics_in(answer)}
        self._asked_at = asyncio.get_running_loop().time()
        return answer

    async def describe(self, names: Collection[str] | None = None) -> dict[str, TopicInfo]:
        """All topics as they are, or those of `names`; internal ones left out."""
        return await self.of_those_there(names, self._describe)

    async def of_those_there(
        self, names: Collection[str] | None, ask: Callable[[Any, dict[str, int]], Awaitable[T]]
    ) -> T:
        """What `ask` answers; it gets the cluster's metadata, and the topics of `names` (of all) with their partitions.

        One of them may go while it asks: if that is what it fails by, it asks again, of those that are left.
        """
        while True:
            answer = await self.refresh()
            counts = chosen(self.counts, names)
            try:
                return await ask(answer, counts)
            except UnknownTopic:
                await self.refresh()
                if chosen(self.counts, counts) == counts:
                    raise

    async def _describe(self, answer: Any, counts: dict[str, int]) -> dict[str, TopicInfo]:
        nodes = [broker[0] for broker in answer.brokers]
        every = [(name, number) for name, count in counts.items() for number in range(count)]
        ask = self._cluster.until_answered
        bounds, sizes, configs = await asyncio.gather(
            ask("asking for the ends of the topics", lambda: self._bounds(every)),
            ask("asking for the sizes of the topics", lambda: self._sizes(nodes)),
            ask("asking for the settings of the topics", lambda: self._configs(counts)),
        )
        return {
            name: TopicInfo(
                name=name,
                bounds=[bounds[name, number] for number in range(count)],
                bytes=sum(sizes.get((name, number), 0) for number in range(count)),
                spec=_spec_of(name, count, configs.get(name, {})),
                max_bytes=_number(configs.get(name, {}).get("max.message.bytes")),
                sizes=[sizes.get((name, number), 0) for number in range(count)],
            )
            for name, count in sorted(counts.items())
        }

    async def _bounds(self, every: Collection[Partition]) -> dict[Partition, Bounds]:
        while True:
            bounds = await self._cluster.bounds(every)
            if not self._afterglow.hides_ends(bounds):
                return bounds
            await asyncio.sleep(_PAUSE_S)

    async def ensure(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Make what is missing; the names made, once every broker that answers knows them."""
        for spec in specs:
            check_spec(spec)
        await self.refresh()
        missing = {spec.name: spec for spec in specs if spec.name not in self.counts}
        if not missing:
            return []
        made = await self._cluster.until_answered(
            f"making the topics {', '.join(missing)}", lambda: self._make(missing)
        )
        await self._cluster.until_answered("waiting for new topics", lambda: self._until_led(missing))
        await self.refresh()
        return made

    def _number(self, append: Append) -> int:
        if append.partition >= 0:
            return append.partition
        count = self.counts[append.topic]
        if append.key is not None:
            return partition_of(append.key, count)
        self._turn += 1
        return self._turn % count

    async def _make(self, missing: Mapping[str, TopicSpec]) -> list[str]:
        settings = self._settings
        wanted: list[Any] = [
            (name, spec.partitions or settings.partitions, settings.replication_factor, [], configs_of(spec))
            for name, spec in missing.items()
        ]
        request = CreateTopicsRequest(wanted, round(settings.timeout_s * 1000), validate_only=False)
        answer = await self._cluster.send(request, await self._cluster.controller())
        made = []
        for name, code, message in answer.topic_errors:
            if code == errors.TopicAlreadyExistsError.errno:  # another one was quicker
                continue
            raise_for(code, f"topic {name!r}: {message}")
            made.append(name)
        return made

    async def _until_led(self, names: Collection[str]) -> None:
        """Wait until the partitions of new topics have leaders: before, nothing can be written to them."""
        while True:
            answer = await self._cluster.metadata_of(names)
            for code, name, *_ in answer.topics:
                if code == errors.TopicAuthorizationFailedError.errno:
                    raise_for(code, f"topic {name!r}")
            ready = {name for name, parts in _topics_in(answer) if all(one[2] >= 0 for one in parts)}
            if ready >= set(names):
                return
            await asyncio.sleep(_PAUSE_S)

    async def _sizes(self, nodes: Iterable[int]) -> dict[Partition, int]:
        sizes: dict[Partition, int] = {}
        try:
            answers = await asyncio.gather(*(self._cluster.send(LogDirsRequest(), node) for node in nodes))
        except (NotImplementedError, errors.IncompatibleBrokerVersion):  # not every service in Kafka's guise has it
            return {}
        for answer in answers:
            for partition, size in sizes_of(answer).items():
                sizes[partition] = max(size, sizes.get(partition, 0))  # replicas are the same bytes again
        return sizes

    async def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        if not (wanted := [(ConfigResourceType.TOPIC, name, _CONFIGS) for name in names]):
            return {}
        answer = await self._cluster.send(DescribeConfigsRequest(wanted))
        return {name: {one[0]: one[1] for one in entries} for _, _, _, name, entries in answer.resources}


def _topics_in(answer: Any) -> list[tuple[str, list[Any]]]:
    return [
        (name, parts) for code, name, is_internal, parts in answer.topics if not is_internal and (not code or parts)
    ]


def configs_of(spec: TopicSpec) -> list[tuple[str, str]]:
    """The settings that a topic of ours is made with."""
    configs = [
        ("retention.ms", str(-1 if spec.retention_ms is None else spec.retention_ms)),
        ("retention.bytes", str(-1 if spec.retention_bytes is None else spec.retention_bytes)),
        ("cleanup.policy", spec.cleanup),
    ]
    return configs if spec.max_bytes is None else [*configs, ("max.message.bytes", str(spec.max_bytes))]


def _number(text: str | None) -> int | None:
    return int(text) if text else None


def _spec_of(name: str, partitions: int, configs: Mapping[str, str]) -> TopicSpec:
    kept_ms, kept_bytes = int(configs.get("retention.ms") or -1), int(configs.get("retention.bytes") or -1)
    return TopicSpec(
        name=name,
        partitions=partitions,
        retention_ms=None if kept_ms < 0 else kept_ms,
        retention_bytes=None if kept_bytes < 0 else kept_bytes,
        cleanup=",".join(sorted((configs.get("cleanup.policy") or "delete").replace(" ", "").split(","))),
    )
