"""Topics and lag."""

from __future__ import annotations

import pytest

from headrace.functions.errors import BrokerError
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
