"""Topics and lag."""

from __future__ import annotations

import os

import pytest

from headrace.functions.errors import BrokerError, UnknownTopic
from headrace.runtime.ports import Append, Bounds, Lag, Settlement, TopicSpec


async def test_topics_tell_their_bounds_size_and_settings(broker, order):
    await broker.ensure([TopicSpec("kept", 2, retention_ms=60_000, retention_bytes=1000, cleanup="compact")])
    await broker.append([order(b"x" * 100, key=b"k"), order(b"y", partition=2)])
    topics = await broker.topics()
    assert topics["orders"].bounds == [Bounds(0, 1), Bounds(0, 0), Bounds(0, 1)]
    assert topics["orders"].bytes >= 102
    assert topics["emails"].bytes == 0
    assert topics["kept"].spec == TopicSpec("kept", 2, 60_000, 1000, "compact")


async def test_ensure_creates_what_is_not_there_and_names_it(broker, order):
    await broker.append([order(b"x")])
    created = await broker.ensure([TopicSpec("orders", 9), TopicSpec("new", 2), TopicSpec("newer")])
    assert list(created) == ["new", "newer"]
    topics = await broker.topics()
    assert topics["orders"].bounds == [Bounds(0, 1), Bounds(0, 0), Bounds(0, 0)]
    assert len(topics["new"].bounds) == 2
    assert len(topics["newer"].bounds) >= 1
    assert list(await broker.ensure([TopicSpec("new", 2)])) == []


@pytest.mark.parametrize("name", ["", ".", "a b", "ä", "x" * 250, "a/b"])
async def test_a_name_no_broker_takes_is_refused_and_nothing_created(broker, name):
    with pytest.raises(BrokerError, match="cannot name a topic"):
        await broker.ensure([TopicSpec("fine"), TopicSpec(name)])
    assert "fine" not in await broker.topics()


async def test_a_topic_needs_a_partition(broker):
    with pytest.raises(BrokerError, match="cannot have 0 partitions"):
        await broker.ensure([TopicSpec("none", 0)])


async def test_topics_made_by_one_client_are_there_for_all(broker, client):
    other = await client()
    await other.ensure([TopicSpec("late", 1)])
    (position,) = await broker.append([Append("late", -1, 0, None, b"x", b"")])
    assert position.offset == 0


async def test_lag_is_of_the_groups_with_that_prefix(broker, join, order):
    await broker.append([order(b"x") for _ in range(7)])
    for group in ("app.one", "app.two", "other.one"):
        _, handed = await join(broker, group, "orders")
        await broker.settle(Settlement(group, ("orders", 0), handed.partitions["orders", 0].epoch, 5, b"p"))
    assert await broker.lag("app.") == [
        Lag("app.one", ("orders", 0), 5, 7, b"p"),
        Lag("app.two", ("orders", 0), 5, 7, b"p"),
    ]
    assert len(await broker.lag("")) == 3
    assert await broker.lag("app._") == []


async def test_topics_can_be_asked_for_by_name_and_those_that_are_not_there_are_left_out(broker):
    assert set(await broker.topics(["emails", "nowhere"])) == {"emails"}
    assert await broker.topics([]) == {}
    assert set(await broker.topics()) == {"orders", "emails"}


async def test_an_altered_topic_has_its_new_settings_and_keeps_its_records(broker, order):
    await broker.append([order(b"x", key=b"k")])
    long_ms = 10**12  # the record is of 2023
    await broker.alter(TopicSpec("orders", retention_ms=long_ms, cleanup="compact,delete", max_bytes=2000))
    topics = await broker.topics(["orders"])
    assert topics["orders"].spec.retention_ms == long_ms
    assert topics["orders"].spec.retention_bytes is None
    assert topics["orders"].spec.cleanup == "compact,delete"
    assert topics["orders"].max_bytes == 2000
    assert topics["orders"].bounds == [Bounds(0, 1), Bounds(0, 0), Bounds(0, 0)]
    await broker.alter(TopicSpec("orders", retention_bytes=5000))
    topic = (await broker.topics(["orders"]))["orders"]
    assert (topic.spec.retention_ms, topic.spec.retention_bytes, topic.spec.cleanup) == (None, 5000, "delete")
    assert topic.max_bytes == 2000


async def test_a_topic_can_be_given_more_partitions_and_never_fewer(broker, order):
    await broker.append([order(b"x", partition=2)])
    await broker.alter(TopicSpec("orders", 5))
    assert [tuple(one) for one in (await broker.topics())["orders"].bounds] == [(0, 0), (0, 0), (0, 1), (0, 0), (0, 0)]
    (position,) = await broker.append([order(b"y", partition=4)])
    assert (position.partition, position.offset) == (4, 0)
    with pytest.raises(BrokerError, match="has 5 partitions and cannot have 2"):
        await broker.alter(TopicSpec("orders", 2, retention_ms=1))
    topic = (await broker.topics())["orders"]
    assert (len(topic.bounds), topic.spec.retention_ms) == (5, None)


async def test_what_is_not_there_can_be_neither_altered_nor_deleted(broker):
    with pytest.raises(UnknownTopic, match="did you mean 'orders'"):
        await broker.alter(TopicSpec("order"))
    with pytest.raises(UnknownTopic, match="did you mean 'orders'"):
        await broker.delete("order")


async def test_settings_that_cannot_be_are_refused_and_change_nothing(broker):
    for spec in (TopicSpec("orders", cleanup="burn"), TopicSpec("orders", retention_ms=0), TopicSpec("orders", 9999)):
        with pytest.raises(BrokerError, match="'orders'"):
            await broker.alter(spec)
        with pytest.raises(BrokerError, match="'orders'"):
            await broker.ensure([spec])
    topic = (await broker.topics())["orders"]
    assert (len(topic.bounds), topic.spec.cleanup, topic.spec.retention_ms) == (3, "delete", None)


async def test_a_deleted_topic_is_gone_with_the_progress_on_it_and_others_are_not(broker, client, join, order):
    await broker.append([order(b"x") for _ in range(4)])
    for topic in ("orders", "emails"):
        member, handed = await join(broker, f"app.{topic}", topic)
        await broker.settle(Settlement(f"app.{topic}", (topic, 0), handed.partitions[topic, 0].epoch, 0, b"p"))
        await member.leave()
    await broker.delete("orders")
    for one in (broker, await client()):
        assert set(await one.topics()) == {"emails"}
        assert [lag.group for lag in await one.lag("")] == ["app.emails"]
        with pytest.raises(UnknownTopic):
            await one.append([order(b"y")])


async def test_a_deleted_topic_can_be_made_again_and_begins_anew(broker, order, read_all):
    await broker.append([order(b"x") for _ in range(4)])
    await broker.delete("orders")
    await broker.ensure([TopicSpec("orders", 1)])
    (position,) = await broker.append([order(b"new")])
    assert position.offset == 0
    assert [record.value for record in await read_all(broker, ("orders", 0))] == [b"new"]


async def test_a_topic_that_a_live_member_reads_is_not_deleted(broker, client, join, order):
    await broker.append([order(b"x")])
    member, _ = await join(broker, "app.f", "orders")
    other = await client()
    with pytest.raises(BrokerError, match=r"'orders' is being read by group 'app\.f'"):
        await other.delete("orders")
    assert "orders" in await broker.topics()
    await member.leave()
    await other.delete("orders")
    assert "orders" not in await broker.topics()


async def test_a_compacted_topic_takes_no_record_without_a_key(broker):
    await broker.ensure([TopicSpec("state", 1, cleanup="compact")])
    with pytest.raises(BrokerError, match="'state' is compacted"):
        await broker.append([Append("state", 0, 0, None, b"x", b"")])
    (position,) = await broker.append([Append("state", 0, 0, b"k", b"x", b"")])
    assert position.offset == 0


async def test_a_topic_takes_no_record_larger_than_it_says(broker):
    await broker.ensure([TopicSpec("small", 1, max_bytes=2000)])
    assert (await broker.topics(["small"]))["small"].max_bytes == 2000
    with pytest.raises(BrokerError, match=r"too large for topic 'small'"):
        await broker.append([Append("small", 0, 0, None, os.urandom(3000), b"")])
    await broker.append([Append("small", 0, 0, None, b"x" * 1500, b"")])


async def test_lag_tells_where_a_partition_begins(broker, join, order):
    await broker.append([order(b"x") for _ in range(3)])
    _, handed = await join(broker, "app.f", "orders")
    await broker.settle(Settlement("app.f", ("orders", 0), handed.partitions["orders", 0].epoch, 1, b"p"))
    (lag,) = await broker.lag("app.f")
    assert (lag.start, lag.lost) == (0, 0)
