"""Groups seen and moved from outside."""

from __future__ import annotations

import pytest

from headrace.functions.errors import BrokerError, Fenced, UnknownTopic
from headrace.runtime.ports import Lag, Settlement


async def _settled(broker, join, order, group="app.one"):
    """A group that has settled offset 3 of 5 and left; its epoch."""
    await broker.append([order(b"x") for _ in range(5)])
    member, handed = await join(broker, group, "orders")
    epoch = handed.partitions["orders", 0].epoch
    await broker.settle(Settlement(group, ("orders", 0), epoch, 3, b"progress"))
    await member.leave()
    return epoch


async def test_a_moved_group_goes_on_from_there_with_no_other_progress(broker, join, order, drain):
    await _settled(broker, join, order)
    await broker.move("app.one", {("orders", 0): 1, ("orders", 2): 0})
    lags = {lag.partition: lag for lag in await broker.lag("app.one")}
    assert lags["orders", 0] == Lag("app.one", ("orders", 0), 1, 5, b"")
    assert lags["orders", 2].committed == 0
    member, handed = await join(broker, "app.one", "orders")
    assigned = handed.partitions["orders", 0]
    assert (assigned.watermark, assigned.progress) == (1, b"")
    assert [record.offset for record in (await drain(member, 4))["orders", 0]] == [1, 2, 3, 4]


async def test_a_group_that_never_was_can_be_moved_too(broker, join, order):
    await broker.append([order(b"x")])
    await broker.move("app.new", {("orders", 0): 1})
    _, handed = await join(broker, "app.new", "orders")
    assert handed.partitions["orders", 0].watermark == 1
    assert handed.partitions["orders", 1].watermark is None


async def test_a_group_with_members_is_not_moved_and_the_refusal_names_them(broker, client, join, order):
    await _settled(broker, join, order)
    member, _ = await join(broker, "app.one", "orders")
    outside = await client()
    ((served, members),) = (await outside.served(["app.one", "app.none"])).items()
    assert (served, len(members)) == ("app.one", 1)
    for store in (broker, outside):
        with pytest.raises(BrokerError, match=r"app\.one.* is served by .*stop that first"):
            await store.move("app.one", {("orders", 0): 0})
    assert next(lag.committed for lag in await broker.lag("app.one")) == 3
    await member.leave()
    assert await outside.served(["app.one"]) == {}
    await outside.move("app.one", {("orders", 0): 0})


async def test_what_an_owner_before_the_move_still_settles_is_fenced(broker, join, order):
    epoch = await _settled(broker, join, order)
    await broker.move("app.one", {("orders", 0): 1})
    with pytest.raises(Fenced):
        await broker.settle(Settlement("app.one", ("orders", 0), epoch, 5, b"late"))


async def test_a_group_is_not_moved_on_what_is_not_there(broker):
    with pytest.raises(UnknownTopic):
        await broker.move("app.one", {("nowhere", 0): 0})
    with pytest.raises(BrokerError, match="no partition 9"):
        await broker.move("app.one", {("orders", 9): 0})
    assert list(await broker.lag("app.one")) == []
