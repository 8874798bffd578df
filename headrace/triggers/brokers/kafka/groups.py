"""Groups: how far each is, who serves it, and moving one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from aiokafka import errors
from aiokafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest

from headrace.runtime.ports import Bounds, Lag, Partition
from headrace.triggers.brokers.kafka.afterglow import Afterglow
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.failure import raise_for
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.reader import Reader
from headrace.triggers.brokers.kafka.topics import Topics
from headrace.triggers.brokers.refusal import still_served

_PAUSE_S = 0.01
_LOOK_CLOSER = 64  # a tail this short may be nothing but transaction markers


class Groups:
    """The consumer groups of a cluster."""

    def __init__(self, cluster: Cluster, topics: Topics, reader: Reader, afterglow: Afterglow) -> None:
        self._cluster = cluster
        self._afterglow = afterglow
        self._topics = topics
        self._reader = reader

    def __repr__(self) -> str:
        return f"<Groups of {self._cluster!r}>"

    async def lag(self, prefix: str) -> list[Lag]:
        """See `ports.Admin.lag`. The end is the last stable offset; a tail of transaction markers counts as nothing."""
        return await self._topics.of_those_there(None, lambda _, counts: self._lag(prefix, counts))

    async def _lag(self, prefix: str, counts: Mapping[str, int]) -> list[Lag]:
        ask = self._cluster.until_answered
        names = await ask("asking for the groups", self._names)
        marks: dict[tuple[str, Partition], Mark] = {}
        for group in sorted(name for name in names if name.startswith(prefix)):
            found = await ask(f"asking for the offsets of group {group!r}", partial(self._marks, group, counts))
            marks |= {(group, partition): mark for partition, mark in sorted(found.items())}
        partitions = {partition for _, partition in marks}
        bounds = await ask("asking for the ends of partitions", lambda: self._cluster.bounds(partitions))
        return [
            Lag(
                group,
                partition,
                mark.watermark,
                await self._end(partition, mark, bounds[partition]),
                mark.progress,
                bounds[partition].start,
            )
            for (group, partition), mark in marks.items()
        ]

    async def served(self, groups: Collection[str]) -> dict[str, list[str]]:
        """See `ports.Groups.served`: a member is told by its client's id and host."""
        ask = self._cluster.until_answered
        found = await asyncio.gather(
            *(ask(f"asking for the members of group {group!r}", partial(self._members, group)) for group in groups)
        )
        return {group: members for group, members in zip(groups, found, strict=True) if members}

    async def move(self, group: str, marks: Mapping[Partition, int]) -> None:
        """See `ports.Groups.move`. The cluster itself refuses it while the group has members."""
        doing = f"moving group {group!r}"
        if group in (found := await self.served([group])):
            raise still_served(group, found[group])
        await self._cluster.until_answered(doing, lambda: self._commit(group, marks))

    async def _members(self, group: str) -> list[str]:
        answer = await self._cluster.send(DescribeGroupsRequest([group]), await self._cluster.coordinator(group))
        ((code, _name, _state, _type, _protocol, members, *_),) = answer.groups
        raise_for(code, f"group {group}")
        return [f"{one[1]} at {one[2].removeprefix('/')}" for one in members]

    async def _commit(self, group: str, marks: Mapping[Partition, int]) -> None:
        """Commit as one outside of the group, which is allowed while it has no members."""
        topics: dict[str, list[tuple[int, int, str]]] = {}
        for (topic, number), watermark in marks.items():
            topics.setdefault(topic, []).append((number, watermark, ""))
        request = OffsetCommitRequest(group, -1, "", -1, list(topics.items()))
        answer = await self._cluster.send(request, await self._cluster.coordinator(group))
        for topic, parts in answer.topics:
            for number, code in parts:
                if code == errors.UnknownMemberIdError.errno:
                    raise still_served(group, ["a member that has just joined"])
                raise_for(code, f"group {group} on {topic}/{number}")

    async def _names(self) -> set[str]:
        metadata = await self._cluster.metadata()
        names: set[str] = set()
        for broker in metadata.brokers:
            answer = await self._cluster.send(ListGroupsRequest(), broker[0])
            raise_for(answer.error_code, "listing the groups")
            names |= {name for name, _ in answer.groups}
        return names

    async def _marks(self, group: str, counts: Mapping[str, int]) -> dict[Partition, Mark]:
        """What it committed on topics that are there: on one that was deleted it is no lag."""
        while True:
            found = await self._cluster.marks(group)
            if not self._afterglow.hides_marks(group, found):
                break
            await asyncio.sleep(_PAUSE_S)
        return {(topic, number): mark for (topic, number), mark in found.items() if number < counts.get(topic, 0)}

    async def _end(self, partition: Partition, mark: Mark, bounds: Bounds) -> int:
        if not 0 < bounds.end - mark.watermark <= _LOOK_CLOSER or mark.watermark < bounds.start:
            return bounds.end
        fetched = await self._reader.read(partition, mark.watermark, 1)
        return mark.watermark if not fetched.records and fetched.next >= bounds.end else bounds.end
