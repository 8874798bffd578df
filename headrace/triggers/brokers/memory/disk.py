"""The disk: what survives the death of every client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from headrace.functions.partition import partition_of
from headrace.runtime.ports import (
    Append,
    Assigned,
    Lag,
    Partition,
    Position,
    Settlement,
    Ticket,
    TopicInfo,
    TopicSpec,
)
from headrace.triggers.brokers.memory.group import Group
from headrace.triggers.brokers.memory.journal import Journal
from headrace.triggers.brokers.memory.owner import NOBODY, Claim, Owner
from headrace.triggers.brokers.refusal import (
    check_append,
    check_spec,
    fenced,
    fewer_partitions,
    no_partition,
    unknown_topic,
)


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
    answers: dict[str, dict[int, list[Position]]] = field(default_factory=dict)
    """What each producer was answered, by the number of its append."""
    delayed: list[tuple[int, int, Append]] = field(default_factory=list)
    """What waits for its time, as a heap by that and by the order it came."""
    held: int = 0
    """How many records ever waited for their time."""
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

    def alter(self, spec: TopicSpec) -> None:
        """See `ports.Admin.alter`."""
        check_spec(spec)
        topic = self.topic(spec.name)
        count = len(topic.journals)
        wanted = spec.partitions or count
        if wanted < count:
            raise fewer_partitions(spec.name, count, wanted)
        topic.journals += [Journal() for _ in range(wanted - count)]
        topic.spec = replace(spec, partitions=wanted, max_bytes=spec.max_bytes or topic.spec.max_bytes)
        self._written()

    def delete(self, name: str) -> None:
        """Delete a topic and all progress on it. Raises `UnknownTopic`."""
        del self.topics[self.topic(name).spec.name]
        self.delayed = [one for one in self.delayed if one[2].topic != name]
        heapify(self.delayed)
        for claim in [claim for claim in self.progress if claim[1][0] == name]:
            del self.progress[claim]  # its epoch stays: the topic may be made again
        self._written()

    def apply(
        self,
        appends: Sequence[Append],
        now_ms: int,
        *,
        settled: Claim | None = None,
        progress: Progress | None = None,
        ticket: Ticket | None = None,
    ) -> list[Position]:
        """Write these records, whose partitions are `placed`, the progress of `settled` and the answer, as one."""
        positions = [self._enter(one, now_ms) for one in appends]
        if settled is not None and progress is not None:
            self.progress[settled] = progress
        if ticket is not None:
            answers = self.answers.get(ticket.producer, {})
            kept = {number: answer for number, answer in answers.items() if number >= ticket.answered}
            self.answers[ticket.producer] = {**kept, ticket.number: positions}
        self._written()
        return positions

    def promote(self, now_ms: int) -> None:
        """What has waited until now enters its topic, as one write."""
        due = []
        while self.delayed and self.delayed[0][0] <= now_ms:
            due.append(heappop(self.delayed)[2])
        if due:
            self.apply(due, now_ms)

    def has(self, settlement: Settlement) -> bool:
        """Whether the progress of this very settlement is the last that was written."""
        written = self.progress.get((settlement.group, settlement.partition))
        return written == Progress(settlement.watermark, settlement.progress)

    def placed(self, append: Append) -> Append:
        """The same record with a partition, unless it waits for its time, and gets one then.

        Raises `UnknownTopic`, and `BrokerError` for a partition not there.
        """
        topic = self.topic(append.topic)
        check_append(append, topic.spec)
        if append.partition >= 0:
            self.journal((append.topic, append.partition))
        if append.partition >= 0 or append.not_before_ms:
            return append
        number = self._choose(append)
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
        """Who owns a partition."""
        return self.owners.get((group, partition), NOBODY)

    def group(self, name: str) -> Group:
        """The group of this name, which is made when it is first asked for."""
        if (its := self.groups.get(name)) is None:
            its = self.groups[name] = Group(name, self)
        return its

    def move(self, group: str, marks: Mapping[Partition, int]) -> None:
        """Put other watermarks, with nothing beside them, in place of a group's progress; fences who had it.

        Raises `UnknownTopic`, and `BrokerError` for a partition not there, having changed nothing.
        """
        for partition in marks:
            self.journal(partition)
        for partition, watermark in marks.items():
            self.progress[group, partition] = Progress(watermark, b"")
            self.owners[group, partition] = Owner(None, self.owner(group, partition).epoch + 1)
        self._written()

    def check(self, settlement: Settlement, members: Sequence[str]) -> None:
        """Raise `Fenced` unless one of `members` owns the settlement's partition in its epoch; `UnknownTopic`."""
        self.topic(settlement.partition[0])
        owner = self.owner(settlement.group, settlement.partition)
        if owner.member not in members or owner.epoch != settlement.epoch:
            raise fenced(settlement, owner.epoch)

    def lag(self, prefix: str) -> list[Lag]:
        """The progress of all groups whose names begin with `prefix`."""
        return [
            Lag(group, partition, watermark, self.journal(partition).end, progress, self.journal(partition).start)
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
                topic.spec.max_bytes,
                [journal.bytes for journal in topic.journals],
            )
            for name, topic in sorted(self.topics.items())
        }

    def _choose(self, append: Append) -> int:
        topic = self.topics[append.topic]
        if append.key is not None:
            return partition_of(append.key, len(topic.journals))
        topic.turn += 1
        return (topic.turn - 1) % len(topic.journals)

    def _enter(self, append: Append, now_ms: int) -> Position:
        topic, partition = append.topic, append.partition
        if append.not_before_ms > now_ms:
            self.held += 1
            heappush(self.delayed, (append.not_before_ms, self.held, append))
            return Position(topic, partition, -1)
        if partition < 0:
            partition = self._choose(append)
        return Position(topic, partition, self.journal((topic, partition)).append(append, now_ms))

    def _create(self, spec: TopicSpec) -> bool:
        if spec.name in self.topics:
            return False
        count = spec.partitions or self.default_partitions
        self.topics[spec.name] = Topic(replace(spec, partitions=count), [Journal() for _ in range(count)])
        return True

    def _written(self) -> None:
        self.version += 1
        for tell in list(self.watchers.values()):
            tell()

    def __repr__(self) -> str:
        kind = "transactional" if self.transactional else "at-least-once"
        records = sum(journal.end for topic in self.topics.values() for journal in topic.journals)
        return f"<Disk {self.cluster}, {kind}: {len(self.topics)} topics, {records} records>"
