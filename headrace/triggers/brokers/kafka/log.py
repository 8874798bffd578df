"""The log as the runtime sees it: `ports.Store` on a Kafka cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Self

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import (
    Append,
    Delayed,
    Features,
    Fetched,
    Lag,
    Partition,
    Position,
    Rebalance,
    Settlement,
    Ticket,
    TopicInfo,
    TopicSpec,
)
from headrace.triggers.brokers.kafka.afterglow import Afterglow
from headrace.triggers.brokers.kafka.alteration import Alteration
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.claims import Claim, Claims
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.committer import NotOwner
from headrace.triggers.brokers.kafka.desk import Desk
from headrace.triggers.brokers.kafka.groups import Groups
from headrace.triggers.brokers.kafka.mark import PROGRESS_LIMIT, Mark
from headrace.triggers.brokers.kafka.member import KafkaMember
from headrace.triggers.brokers.kafka.producer import Producer
from headrace.triggers.brokers.kafka.publisher import Publisher
from headrace.triggers.brokers.kafka.reader import Reader
from headrace.triggers.brokers.kafka.settings import KafkaSettings
from headrace.triggers.brokers.kafka.topics import Topics
from headrace.triggers.brokers.refusal import fenced, refuse_delayed


class KafkaLog:
    """A Kafka cluster; implements `ports.Store`. Made by `open`.

    At-least-once: the appends of a settlement are acknowledged by all replicas in sync before its progress is
    committed. In transactions: both are visible together, or neither.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.cluster = ""
        self.features = Features(
            transactions=True,
            delayed=False,
            progress_limit=PROGRESS_LIMIT,
            seek_by_time=True,
            rebalance_s=settings.rebalance_timeout_s,
        )
        self._calls = Calls(settings.place, settings.timeout_s)
        self._cluster = Cluster(settings, self._calls)
        afterglow = Afterglow()
        self._topics = Topics(settings, self._cluster, afterglow)
        self._alteration = Alteration(self._cluster, self._topics, settings.timeout_s)
        self._reader = Reader(self._calls, self._cluster, self._topics)
        self._groups = Groups(self._cluster, self._topics, self._reader, afterglow)
        self._publisher = Publisher(Producer(settings), self._calls, self._describe)
        self._claims = Claims()
        self._desk = Desk(settings, self._calls, self._cluster, self._topics, afterglow)
        self._members: list[KafkaMember] = []

    @classmethod
    async def open(cls, settings: KafkaSettings) -> Self:
        """Connect to the cluster. Raises `BrokerUnavailable` if it cannot be reached."""
        # Its complaints are for who configures logging; by default Python would print them raw.
        logging.getLogger("aiokafka").addHandler(logging.NullHandler())
        log = cls(settings)
        try:
            answer = await log._topics.refresh("connecting")
        except BaseException:
            await log.close()
            raise
        log.cluster = str(answer.cluster_id)
        return log

    def __repr__(self) -> str:
        groups = ", ".join(sorted(member.group for member in self._members))
        state = "closed" if self._calls.is_closed else f"open, serving {groups or 'no group'}"
        return f"<KafkaLog at {self._calls.where}: {state}>"

    async def append(self, appends: Sequence[Append], *, ticket: Ticket | None = None) -> Sequence[Position]:
        """See `ports.Broker.append`. Each partition's records are written whole or not at all, as a rule.

        The client sends again by itself what was not acknowledged, and Kafka takes it once; when it gives up, nothing
        can tell whether that was written.
        """
        _ = ticket
        self._calls.check()
        refuse_delayed(appends, self.features)
        positions = await self._publisher.publish(appends, await self._topics.placed(appends))
        self._reader.appended()
        return positions

    async def settle(self, settlement: Settlement) -> None:
        """See `ports.Broker.settle`: the appends are acknowledged, then the progress is committed; or a transaction."""
        self._calls.check()
        refuse_delayed(settlement.appends, self.features)
        if (size := len(settlement.progress)) > PROGRESS_LIMIT:
            raise BrokerError(
                f"progress of group {settlement.group!r} has {size} bytes; {PROGRESS_LIMIT} are the limit here"
            )
        if (claim := self._claims.find(settlement)) is None:
            await self._topics.require_partition(settlement.partition)
            raise fenced(settlement, self._claims.epoch(settlement))
        async with claim.turn:
            try:
                await self._settle(claim, settlement)
            except NotOwner as error:
                self._claims.drop(claim)
                claim.member.link.rejoin()
                raise fenced(settlement, self._claims.epoch(settlement)) from error

    async def join(
        self, group: str, topics: Sequence[str], rebalance: Rebalance, *, transactional: bool = False
    ) -> KafkaMember:
        """See `ports.Broker.join`. A second static member of a group in one process is refused."""
        self._calls.check()
        self._members = [one for one in self._members if not one.has_left]
        self._check_static(group)
        member = KafkaMember(self._desk, self._claims, group, topics, rebalance, exact=transactional)
        self._members.append(member)
        await member.open()
        return member

    async def ensure(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """See `ports.Admin.ensure`."""
        return await self._topics.ensure(topics)

    async def alter(self, topic: TopicSpec) -> None:
        """See `ports.Admin.alter`."""
        await self._alteration.alter(topic)

    async def delete(self, name: str) -> None:
        """See `ports.Admin.delete`. Kafka forgets the progress of groups on it in its own time."""
        await self._alteration.delete(name)

    async def topics(self, names: Collection[str] | None = None) -> dict[str, TopicInfo]:
        """See `ports.Admin.topics`. The end of a partition is its last stable offset."""
        return await self._topics.describe(names)

    async def lag(self, prefix: str) -> Sequence[Lag]:
        """See `ports.Admin.lag`."""
        return await self._groups.lag(prefix)

    async def served(self, groups: Collection[str]) -> dict[str, list[str]]:
        """See `ports.Groups.served`."""
        return await self._groups.served(groups)

    async def move(self, group: str, marks: Mapping[Partition, int]) -> None:
        """See `ports.Groups.move`."""
        for partition in marks:
            await self._topics.require_partition(partition)
        await self._groups.move(group, marks)

    async def read(self, partition: Partition, offset: int, limit: int) -> Fetched:
        """See `ports.Reader.read`: committed records only."""
        return await self._reader.read(partition, offset, limit)

    async def changed(self, timeout: float) -> None:
        """See `ports.Reader.changed`."""
        await self._reader.changed(timeout)

    async def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """See `ports.Reader.offset_at`: by the time of the records, or of the topic if it is set so."""
        return await self._reader.offset_at(partition, timestamp_ms)

    async def delayed(self, topics: Collection[str]) -> Delayed:
        """See `ports.Reader.delayed`: nothing is, here."""
        _ = topics
        return Delayed()

    async def close(self) -> None:
        """See `ports.Broker.close`. Members leave their groups, without being told."""
        if self._calls.is_closed:
            return
        self._calls.close()
        await asyncio.gather(*(member.close() for member in self._members))
        await asyncio.gather(self._publisher.close(), self._cluster.close())

    async def _settle(self, claim: Claim, settlement: Settlement) -> None:
        """Raises `NotOwner` if the claim is over, having written nothing as far as that was known before."""
        if claim.is_over or not await claim.member.link.confirm() or claim.is_over:
            raise NotOwner
        mark = Mark.of(settlement.watermark, settlement.progress)
        if claim.transactor is not None:
            places = await self._topics.placed(settlement.appends)
            await claim.transactor.settle(mark, list(zip(settlement.appends, places, strict=True)))
            self._reader.appended()
            return
        if settlement.appends and claim.published is not settlement:
            await self.append(settlement.appends)
            claim.published = settlement
        await claim.member.committer.commit(claim.membership, claim.partition, mark)
        claim.published = None

    def _check_static(self, group: str) -> None:
        """Two members with one instance id would throw each other out, for ever."""
        instance = self._desk.settings.instance_id
        if instance is not None and any(one.group == group for one in self._members):
            raise BrokerError(
                f"this process is a member of group {group!r} already, as instance {instance!r}: join once, or leave "
                "kafka.instance_id unset"
            )

    async def _describe(self, topic: str) -> TopicInfo | None:
        return (await self._topics.describe([topic])).get(topic)
