"""What a broker says it can, it can; and what it says it cannot, it refuses."""

from __future__ import annotations

import asyncio

import pytest

from headrace.functions.errors import BrokerError, UnknownTopic
from headrace.runtime.ports import Append, Settlement
from headrace.sandbox.headers import pack

ORDERS = ("orders", 0)


async def test_progress_over_its_limit_is_refused_and_nothing_is_written(broker, join, read_all):
    limit = broker.features.progress_limit
    if limit is None:
        pytest.skip("this broker has no limit")
    _, handed = await join(broker, "app.f", "orders")
    epoch = handed.partitions[ORDERS].epoch
    emit = Append("emails", 0, 0, None, b"x", b"")
    with pytest.raises(BrokerError, match=f"{limit + 1} bytes; {limit} are the limit"):
        await broker.settle(Settlement("app.f", ORDERS, epoch, 1, bytes(limit + 1), [emit]))
    assert await read_all(broker, ("emails", 0)) == []
    assert await broker.lag("app.f") == []


async def test_the_cluster_names_the_log_and_is_the_same_for_all_clients(broker, client):
    assert broker.cluster
    assert (await client()).cluster == broker.cluster


async def test_settled_records_are_as_appended_ones(broker, join, read_all):
    headers = pack([("a", b"1"), ("a", b"\xff"), ("", b"")])
    appends = [
        Append("emails", -1, 1_234_567_890_123, b"k", None, headers),
        Append("emails", 0, 0, None, b"", b""),
    ]
    _, handed = await join(broker, "app.f", "orders")
    await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 1, b"", appends))
    first, second = await read_all(broker, ("emails", 0))
    assert (first.timestamp, first.key, first.value, first.headers) == (1_234_567_890_123, b"k", None, headers)
    assert (second.key, second.value, second.headers) == (None, b"", b"")


async def test_a_settlement_of_an_unknown_topic_is_refused(broker, join):
    await join(broker, "app.f", "orders")
    with pytest.raises(UnknownTopic):
        await broker.settle(Settlement("app.f", ("nowhere", 0), 1, 1, b""))


async def test_every_assignment_has_a_higher_epoch(broker, join):
    epochs = []
    for _ in range(5):
        member, handed = await join(broker, "app.f", "orders")
        epochs.append(handed.partitions[ORDERS].epoch)
        await member.leave()
    assert epochs == sorted(set(epochs))


async def test_seeking_past_the_end_waits_for_what_comes_there(broker, join, drain, order):
    await broker.append([order(b"0"), order(b"1")])
    member, _ = await join(broker, "app.f", "orders")
    member.seek(ORDERS, 4)
    await broker.append([order(b"%d" % n) for n in range(2, 6)])
    found = await drain(member, 2)
    assert [record.value for record in found[ORDERS]] == [b"4", b"5"]


async def test_seeking_before_the_beginning_begins_at_the_beginning(broker, join, drain, order):
    await broker.append([order(b"0")])
    member, _ = await join(broker, "app.f", "orders")
    member.seek(ORDERS, -5)
    assert [record.offset for record in (await drain(member, 1))[ORDERS]] == [0]


async def test_seeking_while_paused_counts_when_it_goes_on(broker, join, drain, order):
    await broker.append([order(b"%d" % n) for n in range(5)])
    member, _ = await join(broker, "app.f", "orders")
    member.pause([ORDERS], paused=True)
    member.seek(ORDERS, 3)
    member.pause([ORDERS], paused=False)
    assert [record.offset for record in (await drain(member, 2))[ORDERS]] == [3, 4]


async def test_lag_follows_the_end_and_knows_what_every_client_settled(broker, client, join, order):
    _, handed = await join(broker, "app.f", "orders")
    await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 0, b""))
    await broker.append([order(b"x") for _ in range(3)])
    other = await client()
    async with asyncio.timeout(60):  # it may learn a little later what another client has settled
        while not (found := await other.lag("app.f")):
            await other.changed(0.02)
    (lag,) = found
    assert (lag.committed, lag.end) == (0, 3)
