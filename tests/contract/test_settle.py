"""The one write verb: whole or not at all, and only by the owner."""

from __future__ import annotations

import asyncio

import pytest

from headrace.functions.errors import Fenced, UnknownTopic
from headrace.runtime.ports import Append, Bounds, Lag, Settlement

ORDERS = ("orders", 0)


def email(value: bytes) -> Append:
    return Append("emails", 0, 0, None, value, b"")


async def test_emits_and_progress_become_visible_together(broker, join, read_all, order):
    await broker.append([order(b"x") for _ in range(50)])
    member, handed = await join(broker, "app.f", "orders")
    epoch = handed.partitions[ORDERS].epoch

    async def settle_all() -> None:
        for n in range(50):
            await broker.settle(Settlement("app.f", ORDERS, epoch, n + 1, b"%d" % n, [email(b"%d" % n)]))

    settling = asyncio.create_task(settle_all())
    watermark = 0
    while watermark < 50:
        lags = await broker.lag("app.f")
        watermark = lags[0].committed if lags else 0
        emitted = len(await read_all(broker, ("emails", 0)))
        assert emitted >= watermark  # read after it, so never fewer
    await settling
    assert len(await read_all(broker, ("emails", 0))) == 50
    await member.leave()


async def test_progress_comes_back_at_the_next_join(broker, client, join, drain, order):
    await broker.append([order(b"%d" % n) for n in range(5)])
    member, handed = await join(broker, "app.f", "orders")
    first = handed.partitions[ORDERS]
    await broker.settle(Settlement("app.f", ORDERS, first.epoch, 3, b"\x00opaque\xff"))
    await member.leave()
    await broker.close()
    again = await client()
    member, handed = await join(again, "app.f", "orders")
    second = handed.partitions[ORDERS]
    assert (second.watermark, second.progress, second.bounds) == (3, b"\x00opaque\xff", Bounds(0, 5))
    assert second.epoch > first.epoch
    found = await drain(member, 2)
    assert [record.value for record in found[ORDERS]] == [b"3", b"4"]


async def test_a_stale_epoch_is_fenced_and_writes_nothing(broker, join, read_all):
    member, handed = await join(broker, "app.f", "orders")
    stale = handed.partitions[ORDERS].epoch
    await member.leave()
    _, handed = await join(broker, "app.f", "orders")
    with pytest.raises(Fenced, match=r"'app\.f'.*partition 0 of 'orders'"):
        await broker.settle(Settlement("app.f", ORDERS, stale, 1, b"", [email(b"x")]))
    assert await read_all(broker, ("emails", 0)) == []
    assert await broker.lag("app.f") == []
    await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 0, b""))


async def test_a_group_that_was_left_is_fenced(broker, join):
    member, handed = await join(broker, "app.f", "orders")
    await member.leave()
    with pytest.raises(Fenced):
        await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 1, b""))


async def test_a_partition_the_group_never_had_is_fenced(broker, join):
    _, handed = await join(broker, "app.f", "orders")
    with pytest.raises(Fenced):
        await broker.settle(Settlement("app.f", ("emails", 0), handed.partitions[ORDERS].epoch, 1, b""))


async def test_one_fenced_settlement_leaves_those_beside_it_alone(broker, join, read_all):
    _, handed = await join(broker, "app.f", "orders")
    epochs = {partition: one.epoch for partition, one in handed.partitions.items()}
    settlements = [
        Settlement("app.f", partition, epoch - (partition == ORDERS), 0, b"new", [email(b"%d" % partition[1])])
        for partition, epoch in epochs.items()
    ]
    first, second, third = await asyncio.gather(*map(broker.settle, settlements), return_exceptions=True)
    assert isinstance(first, Fenced)
    assert (second, third) == (None, None)
    assert {record.value for record in await read_all(broker, ("emails", 0))} == {b"1", b"2"}
    assert [lag.partition for lag in await broker.lag("app.f")] == [("orders", 1), ("orders", 2)]


async def test_an_emit_to_an_unknown_topic_settles_nothing(broker, join, read_all):
    _, handed = await join(broker, "app.f", "orders")
    lost = Append("email", -1, 0, None, b"x", b"")
    with pytest.raises(UnknownTopic, match=r"'email'.*'emails'"):
        await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 1, b"", [email(b"x"), lost]))
    assert await read_all(broker, ("emails", 0)) == []
    assert await broker.lag("app.f") == []


async def test_settlements_of_a_partition_are_written_in_the_order_of_the_calls(broker, join, read_all):
    _, handed = await join(broker, "app.f", "orders")
    epoch = handed.partitions[ORDERS].epoch
    await asyncio.gather(
        *(broker.settle(Settlement("app.f", ORDERS, epoch, n, b"%d" % n, [email(b"%d" % n)])) for n in range(1, 60))
    )
    assert await broker.lag("app.f") == [Lag("app.f", ORDERS, 59, 0, b"59")]
    assert [record.value for record in await read_all(broker, ("emails", 0))] == [b"%d" % n for n in range(1, 60)]


async def test_a_settlement_may_be_made_again(broker, join):
    _, handed = await join(broker, "app.f", "orders")
    settlement = Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 4, b"same")
    await broker.settle(settlement)
    await broker.settle(settlement)
    assert [(lag.committed, lag.progress) for lag in await broker.lag("app.f")] == [(4, b"same")]


async def test_progress_up_to_its_limit_is_kept(broker, join):
    member, handed = await join(broker, "app.f", "orders")
    limit = broker.features.progress_limit or 200_000
    progress = bytes(n % 251 for n in range(limit))
    await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 0, progress))
    await member.leave()
    _, handed = await join(broker, "app.f", "orders")
    assert handed.partitions[ORDERS].progress == progress


async def test_settling_the_same_again_appends_nothing_twice_where_settlements_are_transactions(
    broker, kind, join, read_all
):
    _, handed = await join(broker, "app.f", "orders")
    epoch = handed.partitions[ORDERS].epoch
    settlement = Settlement("app.f", ORDERS, epoch, 1, b"one", [email(b"x")])
    await broker.settle(settlement)
    await asyncio.gather(broker.settle(settlement), broker.settle(settlement))
    assert len(await read_all(broker, ("emails", 0))) == (1 if kind.transactional else 3)
    await broker.settle(Settlement("app.f", ORDERS, epoch, 2, b"two", [email(b"y")]))
    assert [record.value for record in await read_all(broker, ("emails", 0))][-1] == b"y"
