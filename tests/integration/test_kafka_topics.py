"""Topics that change while they are asked for: one goes, or the brokers do not tell of its new settings yet."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from kafkaclient import PATIENCE, Runtime, fresh, quick

from headrace.functions.errors import UnknownTopic
from headrace.runtime.ports import Settlement, TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog

LOOKS = 120  # at old settings: more than two seconds of them


@pytest.fixture
async def going(log):
    """A topic that somebody deletes just before the store asks for its ends."""
    name = fresh("going")
    await log.ensure([TopicSpec(name, 1)])
    return name


@pytest.fixture
async def somebody(kafka):
    opened = await KafkaLog.open(quick(kafka.bootstrap))
    yield opened
    await opened.close()


def delete_before_ends(log, somebody, name, monkeypatch):
    bounds = log._cluster.bounds

    async def delete_and_ask(partitions):
        monkeypatch.undo()
        await somebody.delete(name)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await bounds([(name, 0)])
                except UnknownTopicOrPartitionError:
                    return await bounds(partitions)

    monkeypatch.setattr(log._cluster, "bounds", delete_and_ask)


async def test_a_topic_that_goes_while_all_are_asked_for_is_left_out(log, topic, going, somebody, monkeypatch):
    delete_before_ends(log, somebody, going, monkeypatch)
    found = await log.topics([topic, going])
    assert set(found) == {topic}
    assert going not in await log.topics()


async def test_a_topic_that_goes_while_lag_is_asked_for_has_none(log, topic, going, somebody, monkeypatch):
    group, runtime = fresh("app.f"), Runtime()
    member = await runtime.join(log, group, topic, going)
    for partition, one in list(runtime.owned.items()):
        await log.settle(Settlement(group, partition, one.epoch, 0, b"p"))
    await member.leave()
    delete_before_ends(log, somebody, going, monkeypatch)
    assert [lag.partition for lag in await log.lag(group)] == [(topic, 0)]


async def test_a_partition_that_its_leader_does_not_know_is_told_of(log, topic, monkeypatch):
    async def unknown(partitions):
        raise UnknownTopicOrPartitionError(str(partitions))

    monkeypatch.setattr(log._cluster, "bounds", unknown)
    with pytest.raises(UnknownTopic, match=topic):
        await log.topics([topic])


async def test_an_alteration_is_over_when_the_brokers_tell_of_it_however_late_that_is(log, topic, monkeypatch):
    before, describe, looks = await log.topics([topic]), log._topics.describe, 0

    async def late(names):
        nonlocal looks
        looks += 1
        return before if looks <= LOOKS else await describe(names)

    monkeypatch.setattr(log._topics, "describe", late)
    await log.alter(TopicSpec(topic, retention_ms=77_000))
    monkeypatch.undo()
    assert looks > LOOKS
    assert (await log.topics([topic]))[topic].spec.retention_ms == 77_000


async def test_the_largest_record_is_waited_for_as_well(log, topic, monkeypatch):
    before, describe, looks = await log.topics([topic]), log._topics.describe, 0

    async def late(names):
        nonlocal looks
        looks += 1
        return before if looks == 1 else await describe(names)

    monkeypatch.setattr(log._topics, "describe", late)
    await log.alter(TopicSpec(topic, retention_ms=before[topic].spec.retention_ms, max_bytes=5000))
    assert looks > 1


async def test_altering_a_topic_that_goes_meanwhile_says_so(log, going, somebody, monkeypatch):
    put, alteration = log._alteration._set, log._alteration

    async def put_and_delete(spec):
        await put(spec)
        await somebody.delete(going)

    monkeypatch.setattr(alteration, "_set", put_and_delete)
    with pytest.raises(UnknownTopic, match=f"'{going}' does not exist"):
        await log.alter(TopicSpec(going, retention_ms=77_000))
