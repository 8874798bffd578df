"""The disk: what survives the death of every client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from headrace.functions.partition import partition_of
from headrace.runtime.ports import Append, Assigned, Lag, Partition, Position, Settlement, TopicInfo, TopicSpec
from headrace.triggers.brokers.memory.journal import Journal
from headrace.triggers.brokers.refusal import check_spec, fenced, no_partition, unknown_topic

if TYPE_CHECKING:
    from headrace.triggers.brokers.memory.group import Group

Claim = tuple[str, Partition]
"""A group's name and a partition."""


@dataclass(slots=True)
class Topic:
    """A topic's settings and partitions. Mutable: the journals grow, `turn` spreads records without a key."""

    spec: TopicSpec
    journals: list[Journal]
    turn: int = 0


class Progress(NamedTuple):
    """What a group last settled for a partition."""

    watermark: int
    progress: bytes


class Owner(NamedTuple):
    """The member that owns a partition, None if none does, and since which epoch."""

    member: str | None
    epoch: int


@dataclass(slots=True, eq=False)
class Disk:
    """The durable state of a log, as plain data; every change is one atomic call. Nothing here can fail half-way.

    `transactional` True: a settlement is one write, as on the embedded log. False: its appends are one write for each
    partition they go to, then its progress is another, as on Kafka at-least-once; a crash can come between any two.
    """

    transactional: bool = True
    cluster: str = "memory"
    default_partitions: int = 4
    topics: dict[str, Topic] = field(default_factory=dict)
    progress: dict[Claim, Progress] = field(default_factory=dict)
    owners: dict[Claim, Owner] = field(default_factory=dict)
    version: int = 0
    """Grows with each write."""
    clients: int = 0
    """How many clients there were so far."""
    groups: dict[str, Group] = field(default_factory=dict, repr=False)
    """Not on the disk, but with whoever keeps it: the live members of each group."""
    watchers: dict[object, Callable[[], None]] = field(default_factory=dict, repr=False)
    """Not on the disk either: who is told of each write, in the order they came."""

    def ensure(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create the topics that are not there; their names. Raises `BrokerError` first, for a spec that cannot be."""
        for spec in specs:
            check_spec(spec)
        made = [spec.name for spec in specs if self._create(spec)]
        self._written()
        return made

    def apply(
        self, appends: Sequence[Append], now_ms: int, *, settled: Claim | None = None, progress: Progress | None = None
    ) -> list[Position]:
        """Write these records, whose partitions are `placed`, and the progress of `settled`, as one."""
        positions = [
            Position(one.topic, one.partition, self.journal((one.topic, one.partition)).append(one, now_ms))
            for one in appends
        ]
        if settled is not None and progress is not None:
            self.progress[settled] = progress
        self._written()
        return positions

    def has(self, settlement: Settlement) -> bool:
        """Whether the progress of this very settlement is the last that was written."""
        written = self.progress.get((settlement.group, settlement.partition))
        return written == Progress(settlement.watermark, settlement.progress)

    def placed(self, append: Append) -> Append:
        """The same record with a partition. Raises `UnknownTopic`, and `BrokerError` for a partition not there."""
        topic = self.topic(append.topic)
        if append.partition >= 0:
            self.journal((append.topic, append.partition))
            return append
        count = len(topic.journals)
        if append.key is not None:
            number = partition_of(append.key, count)
        else:
            number, topic.turn = topic.turn % count, topic.turn + 1
        return Append(append.topic, number, append.timestamp, append.key, append.value, append.headers)

    def topic(self, name: str) -> Topic:
        """The topic. Raises `UnknownTopic`."""
        if (topic := self.topics.get(name)) is None:
            raise unknown_topic(name, self.topics)
        return topic

    def journal(self, partition: Partition) -> Journal:
        """The records of a partition. Raises `UnknownTopic`, and `BrokerError` for a partition not there."""
        name, number = partition
        journals = self.topic(name).journals
        if not 0 <= number < len(journals):
            raise no_partition(name, number, len(journals))
        return journals[number]

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """All partitions of these topics, in order. Raises `UnknownTopic`."""
        return [(name, number) for name in topics for number in range(len(self.topic(name).journals))]

    def claim(self, group: str, partition: Partition, member: str) -> Assigned:
        """Make `member` the owner of a partition under a new epoch."""
        epoch = self.owner(group, partition).epoch + 1
        self.owners[group, partition] = Owner(member, epoch)
        watermark, progress = self.progress.get((group, partition), (None, b""))
        return Assigned(partition, epoch, watermark, progress, self.journal(partition).bounds)

    def release(self, group: str, partition: Partition) -> None:
        """Nobody owns the partition until the next claim."""
        self.owners[group, partition] = Owner(None, self.owner(group, partition).epoch)

    def owner(self, group: str, partition: Partition) -> Owner:
        """Who owns a partition; epochs begin at 1."""
        return self.owners.get((group, partition), Owner(None, 0))

    def check(self, settlement: Settlement, members: Sequence[str]) -> None:
        """Raise `Fenced` unless one of `members` owns the settlement's partition in its epoch; `UnknownTopic`."""
        self.topic(settlement.partition[0])
        owner = self.owner(settlement.group, settlement.partition)
        if owner.member not in members or owner.epoch != settlement.epoch:
            raise fenced(settlement, owner.epoch)

    def lag(self, prefix: str) -> list[Lag]:
        """The progress of all groups whose names begin with `prefix`."""
        return [
            Lag(group, partition, watermark, self.journal(partition).end, progress)
            for (group, partition), (watermark, progress) in sorted(self.progress.items())
            if group.startswith(prefix)
        ]

    def infos(self) -> dict[str, TopicInfo]:
        """All topics by name, in the order of their names."""
        return {
            name: TopicInfo(
                name,
                [journal.bounds for journal in topic.journals],
                sum(journal.bytes for journal in topic.journals),
                topic.spec,
            )
            for name, topic in sorted(self.topics.items())
        }

    def _create(self, spec: TopicSpec) -> bool:
        if spec.name in self.topics:
            return False
        count = spec.partitions or self.default_partitions
        kept = TopicSpec(spec.name, count, spec.retention_ms, spec.retention_bytes, spec.cleanup)
        self.topics[spec.name] = Topic(kept, [Journal() for _ in range(count)])
        return True

    def _written(self) -> None:
        self.version += 1
        for tell in list(self.watchers.values()):
            tell()

    def __repr__(self) -> str:
        kind = "transactional" if self.transactional else "at-least-once"
        records = sum(journal.end for topic in self.topics.values() for journal in topic.journals)
        return f"<Disk {self.cluster}, {kind}: {len(self.topics)} topics, {records} records>"
