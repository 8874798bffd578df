"""Alteration of topics: their settings, more partitions, their end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from aiokafka import errors
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.admin import (
    CreatePartitionsRequest,
    DeleteTopicsRequest,
    DescribeGroupsRequest_v1,
    ListGroupsRequest,
)
from aiokafka.protocol.api import Request

from headrace.runtime.ports import TopicInfo, TopicSpec
from headrace.triggers.brokers.kafka.alterconfigs import AlterConfigsRequest
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.failure import raise_for, unknown_topic
from headrace.triggers.brokers.kafka.topics import Topics, configs_of
from headrace.triggers.brokers.refusal import check_spec, fewer_partitions, still_read

_PAUSE_S = 0.02


class _DescribeGroups(Request[DescribeGroupsRequest_v1]):  # type: ignore[misc]
    # aiokafka's own asks in version 3 and reads the answer as one of version 2.
    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._groups)


class Alteration:
    """Changes the topics of a cluster."""

    def __init__(self, cluster: Cluster, topics: Topics, timeout_s: float) -> None:
        self._cluster = cluster
        self._topics = topics
        self._timeout_ms = round(timeout_s * 1000)

    def __repr__(self) -> str:
        return f"<Alteration of {self._topics!r}>"

    async def alter(self, spec: TopicSpec) -> None:
        """See `ports.Admin.alter`."""
        check_spec(spec)
        count = await self._count(spec.name)
        wanted = spec.partitions or count
        if wanted < count:
            raise fewer_partitions(spec.name, count, wanted)
        ask = partial(self._cluster.until_answered, f"altering topic {spec.name!r}")
        await ask(lambda: self._set(spec))
        await ask(lambda: self._until_told(spec))
        if wanted > count:
            await ask(lambda: self._grow(spec.name, wanted))
            await self._topics.refresh()

    async def delete(self, name: str) -> None:
        """See `ports.Admin.delete`. Members of Kafka's newer kind of group are not seen."""
        await self._count(name)
        ask = self._cluster.until_answered
        for group, client in await ask("asking for the groups", lambda: self._readers(name)):
            raise still_read(name, group, client)
        await ask(f"deleting topic {name!r}", lambda: self._delete(name))
        await self._topics.refresh()

    async def _count(self, name: str) -> int:
        await self._topics.refresh()
        if name not in self._topics.counts:
            raise unknown_topic(name, self._topics.counts)
        return self._topics.counts[name]

    async def _set(self, spec: TopicSpec) -> None:
        request = AlterConfigsRequest(spec.name, configs_of(spec))
        answer = await self._cluster.send(request, await self._cluster.controller())
        for code, message, _, name in answer.resources:
            raise_for(code, f"topic {name!r}: {message}")

    async def _until_told(self, spec: TopicSpec) -> None:
        """Wait until brokers tell of it: they learn it from the controller, a little later."""
        while True:
            found = (await self._topics.describe([spec.name])).get(spec.name)
            if found is None:  # it was deleted meanwhile
                raise unknown_topic(spec.name, self._topics.counts)
            if _is_like(found, spec):
                return
            await asyncio.sleep(_PAUSE_S)

    async def _grow(self, name: str, wanted: int) -> None:
        anywhere: Any = None
        request = CreatePartitionsRequest([(name, (wanted, anywhere))], self._timeout_ms, validate_only=False)
        answer = await self._cluster.send(request, await self._cluster.controller())
        for topic, code, message in answer.topic_errors:
            raise_for(code, f"topic {topic!r}: {message}")
        while True:  # until they have leaders: before, nothing can be written to them
            found = await self._cluster.metadata_of([name])
            parts = [part for _, topic, *_, parts in found.topics if topic == name for part in parts]
            if sum(part[2] >= 0 for part in parts) >= wanted:
                return
            await asyncio.sleep(_PAUSE_S)

    async def _delete(self, name: str) -> None:
        answer = await self._cluster.send(
            DeleteTopicsRequest([name], self._timeout_ms), await self._cluster.controller()
        )
        for topic, code in answer.topic_error_codes:
            if code != errors.UnknownTopicOrPartitionError.errno:  # it was asked before, and the answer lost
                raise_for(code, f"topic {topic!r}")
        while True:
            found = await self._cluster.metadata_of([name])
            if all(code for code, topic, *_ in found.topics if topic == name):
                return
            await asyncio.sleep(_PAUSE_S)

    async def _readers(self, name: str) -> list[tuple[str, str]]:
        """The groups that have a member with a partition of this topic, and a member of each."""
        found: list[tuple[str, str]] = []
        for node in [broker[0] for broker in (await self._cluster.metadata()).brokers]:
            groups = [group for group, _ in (await self._cluster.send(ListGroupsRequest(), node)).groups]
            if groups:
                answer = await self._cluster.send(_DescribeGroups(groups), node)
                found += [reader for one in answer.groups for reader in _readers_in(one, name)]
        return found


def _readers_in(described: Any, name: str) -> list[tuple[str, str]]:
    code, group, _, kind, _, members, *_ = described
    if code or kind != "consumer":
        return []
    return [(group, client or member) for member, client, *_, assigned in members if name in _topics_of(assigned)]


def _topics_of(assigned: bytes) -> set[str]:
    if not assigned:
        return set()
    return {topic for topic, _ in ConsumerProtocolMemberAssignment.decode(assigned).assignment}


def _is_like(found: TopicInfo, spec: TopicSpec) -> bool:
    return _configured(found.spec) == _configured(spec) and spec.max_bytes in {None, found.max_bytes}


def _configured(spec: TopicSpec) -> tuple[object, ...]:
    return spec.retention_ms, spec.retention_bytes, frozenset(spec.cleanup.split(","))
