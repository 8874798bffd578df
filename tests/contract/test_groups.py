"""Membership: what is assigned, polled, and comes back."""

from __future__ import annotations

import asyncio

import pytest

from headrace.functions.errors import BrokerError, UnknownTopic
from headrace.runtime.ports import Append, Bounds, Settlement
from headrace.sandbox.headers import pack, unpack

IF_WOKEN = 15.0  # for twenty rounds: a poll that is not woken looks again after a second in each of them


async def come(member, limit):
    """What the next poll has that has something: one may look for a second in vain."""
    async with asyncio.timeout(60):
        while not (fetched := [one for one in await member.poll(limit) if one.records]):
            pass
    return fetched


async def test_joining_assigns_every_partition_of_every_topic(broker, join, order):
    await broker.append([order(b"x"), order(b"y")])
    _, handed = await join(broker, "app.f", "orders", "emails")
    assert set(handed.partitions) == {("orders", 0), ("orders", 1), ("orders", 2), ("emails", 0)}
    first = handed.partitions["orders", 0]
    assert (first.watermark, first.progress, first.bounds) == (None, b"", Bounds(0, 2))


async def test_joining_an_unknown_topic_is_refused_and_leaves_the_group_free(broker, join):
    with pytest.raises(UnknownTopic, match=r"'order'.*'orders'"):
        await join(broker, "app.f", "order")
    _, handed = await join(broker, "app.f", "orders")
    assert len(handed.partitions) == 3


async def test_a_failing_assignment_leaves_the_group_free(broker, join):
    class Failing:
        async def assigned(self, partitions):
            raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        await broker.join("app.f", ["orders"], Failing())
    _, handed = await join(broker, "app.f", "orders")
    assert len(handed.partitions) == 3


async def test_polling_yields_each_partition_in_order_and_once(broker, join, drain, order):
    await broker.append([order(b"%d" % n, partition=n % 3) for n in range(300)])
    member, _ = await join(broker, "app.f", "orders")
    found = await drain(member, 300, limit=7)
    for partition in range(3):
        values = [record.value for record in found["orders", partition]]
        assert values == [b"%d" % n for n in range(partition, 300, 3)]
    assert await member.poll(500) == []


async def test_polled_records_carry_key_headers_and_timestamp(broker, join, drain):
    await broker.append([Append("emails", 0, 1_700_000_000_123, b"k", None, pack([("a", b"1")]))])
    member, _ = await join(broker, "app.f", "emails")
    ((record,),) = (await drain(member, 1)).values()
    assert (record.offset, record.timestamp, record.key, record.value) == (0, 1_700_000_000_123, b"k", None)
    assert unpack(record.headers) == [("a", b"1")]


async def test_a_poll_stays_within_its_limit_and_serves_all_partitions(broker, join, order):
    await broker.append([order(b"x", partition=n % 3) for n in range(300)])
    member, _ = await join(broker, "app.f", "orders")
    seen = set()
    for _ in range(3):
        fetched = await come(member, 30)
        assert sum(len(one.records) for one in fetched) <= 30
        seen |= {one.partition for one in fetched}
    assert len(seen) == 3


async def test_a_limit_below_the_number_of_partitions_reaches_them_all(broker, join, order):
    await broker.append([order(b"x", partition=n % 3) for n in range(30)])
    member, _ = await join(broker, "app.f", "orders")
    seen = set()
    for _ in range(9):
        fetched = await come(member, 1)
        assert sum(len(one.records) for one in fetched) == 1
        seen |= {one.partition for one in fetched}
    assert len(seen) == 3


async def test_nothing_is_fetched_before_the_first_seek(broker, join, drain, order):
    await broker.append([order(b"x", partition=0), order(b"y", partition=1)])
    member, _ = await join(broker, "app.f", "orders", seek=False)
    assert await member.poll(10) == []
    member.seek(("orders", 1), 0)
    assert set(await drain(member, 1)) == {("orders", 1)}


async def test_seeking_goes_on_from_there(broker, join, drain, order):
    await broker.append([order(b"%d" % n) for n in range(10)])
    member, _ = await join(broker, "app.f", "orders")
    await drain(member, 10)
    member.seek(("orders", 0), 7)
    again = await drain(member, 3)
    assert [record.value for record in again["orders", 0]] == [b"7", b"8", b"9"]


async def test_a_waiting_poll_is_woken_by_a_seek(broker, join, order):
    await broker.append([order(b"x")])
    member, _ = await join(broker, "app.f", "orders", seek=False)
    waiting = asyncio.create_task(come(member, 10))
    member.seek(("orders", 0), 0)
    (fetched,) = await waiting
    assert len(fetched.records) == 1


async def test_a_paused_partition_waits_and_then_misses_nothing(broker, join, drain, order):
    member, _ = await join(broker, "app.f", "orders")
    member.pause([("orders", 0)], paused=True)
    await broker.append([order(b"0"), order(b"1", partition=1)])
    assert set(await drain(member, 1)) == {("orders", 1)}
    assert await member.poll(10) == []
    member.pause([("orders", 0)], paused=False)
    await broker.append([order(b"2")])
    found = await drain(member, 2)
    assert [record.value for record in found["orders", 0]] == [b"0", b"2"]


async def test_pausing_during_a_poll_loses_nothing_and_repeats_nothing(broker, join, order):
    member, _ = await join(broker, "app.f", "orders")
    await broker.append([order(b"x")])
    polling = asyncio.create_task(member.poll(10))
    await asyncio.sleep(0)
    member.pause([("orders", 0)], paused=True)
    found = [record.value for fetched in await polling for record in fetched.records]
    member.pause([("orders", 0)], paused=False)
    if not found:
        found = [record.value for fetched in await come(member, 10) for record in fetched.records]
    assert found == [b"x"]
    assert [one for one in await member.poll(10) if one.records] == []


async def test_a_cancelled_poll_loses_nothing(broker, join, drain, order):
    await broker.append([order(b"%d" % n) for n in range(50)])
    member, _ = await join(broker, "app.f", "orders")
    for _ in range(20):
        polling = asyncio.create_task(member.poll(10))
        await asyncio.sleep(0)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    found = await drain(member, 50)
    assert [record.value for record in found["orders", 0]] == [b"%d" % n for n in range(50)]


async def test_a_waiting_poll_is_woken_by_an_append_of_this_client(broker, join, drain, order):
    member, _ = await join(broker, "app.f", "orders")
    await broker.append([order(b"the first takes longer")])
    await drain(member, 1)
    async with asyncio.timeout(IF_WOKEN):
        for n in range(20):
            waiting = asyncio.create_task(come(member, 10))
            await asyncio.sleep(0)
            await broker.append([order(b"%d" % n)])
            (fetched,) = await waiting
            assert [record.value for record in fetched.records] == [b"%d" % n]


async def test_a_waiting_poll_is_woken_by_an_append_of_another_client(broker, client, join, drain, order):
    other = await client()
    member, _ = await join(broker, "app.f", "orders")
    await other.append([order(b"the first takes longer")])
    await drain(member, 1)
    async with asyncio.timeout(IF_WOKEN):
        for n in range(20):
            waiting = asyncio.create_task(come(member, 10))
            await asyncio.sleep(0)
            await other.append([order(b"%d" % n)])
            (fetched,) = await waiting
            assert [record.value for record in fetched.records] == [b"%d" % n]


async def test_leaving_revokes_all_and_ends_polling(broker, join):
    member, handed = await join(broker, "app.f", "orders")
    waiting = asyncio.create_task(member.poll(10))
    await asyncio.sleep(0)
    await member.leave()
    assert await waiting == []
    assert [sorted(call) for call in handed.revoked_calls] == [[("orders", 0), ("orders", 1), ("orders", 2)]]
    with pytest.raises(BrokerError):
        await member.poll(10)


async def test_what_is_settled_while_leaving_counts(broker, join):
    class LastMinute:
        async def assigned(self, partitions):
            (self.one,) = partitions

        async def revoked(self, partitions):
            await broker.settle(Settlement("app.f", ("emails", 0), self.one.epoch, 1, b"late"))

    await broker.append([Append("emails", 0, 0, None, b"x", b"")])
    member = await broker.join("app.f", ["emails"], LastMinute())
    await member.leave()
    _, handed = await join(broker, "app.f", "emails")
    assert handed.partitions["emails", 0].progress == b"late"


async def test_groups_do_not_know_of_each_other(broker, join, drain, order):
    await broker.append([order(b"x")])
    one, _ = await join(broker, "app.one", "orders")
    two, _ = await join(broker, "app.two", "orders")
    assert len(await drain(one, 1)) == len(await drain(two, 1)) == 1


async def test_a_partition_that_is_not_assigned_cannot_be_sought_or_paused(broker, join):
    member, _ = await join(broker, "app.f", "orders")
    with pytest.raises(BrokerError, match="partition 9 of 'orders' is not assigned"):
        member.seek(("orders", 9), 0)
    with pytest.raises(BrokerError, match="partition 0 of 'emails' is not assigned"):
        member.pause([("emails", 0)], paused=True)


async def test_a_poll_of_large_records_is_bounded_in_bytes_and_loses_none(broker, join, drain):
    large = bytes(900_000)
    await broker.append([Append("orders", 0, 0, None, large, b"") for _ in range(60)])
    member, handed = await join(broker, "app.f", "orders")
    for partition in handed.partitions:
        member.seek(partition, 0)
    first = await member.poll(500)
    assert sum(len(fetched.records) for fetched in first) < 60
    seen = [record.offset for fetched in first for record in fetched.records]
    while len(seen) < 60:
        seen += [record.offset for fetched in await member.poll(500) for record in fetched.records]
    assert seen == list(range(60))


async def test_a_member_follows_further_topics_and_goes_on_with_those_it_has(broker, join, drain, order, until):
    member, handed = await join(broker, "app.f", "orders")
    await broker.append([order(b"before")])
    assert len(await drain(member, 1)) == 1
    await broker.append([order(b"after"), Append("emails", 0, 0, None, b"new", b"")])
    await member.subscribe(["orders", "emails"])
    await until(broker, lambda: ("emails", 0) in handed.partitions)
    for partition, one in handed.partitions.items():
        member.seek(partition, 1 if partition == ("orders", 0) else one.bounds.start)
    found = await drain(member, 2)
    assert {p: [r.value for r in records] for p, records in found.items() if records} == {
        ("orders", 0): [b"after"],
        ("emails", 0): [b"new"],
    }
    fresh = handed.assigned_calls[-1]
    for one in fresh:  # what came by following is settled like what came by joining
        await broker.settle(Settlement("app.f", one.partition, one.epoch, 0, b"p"))


async def test_a_topic_that_is_followed_no_more_is_revoked_and_fetched_no_more(broker, join, until):
    member, handed = await join(broker, "app.f", "orders", "emails")
    await member.subscribe(["orders"])
    await until(broker, lambda: any(("emails", 0) in call for call in handed.revoked_calls))
    await broker.append([Append("emails", 0, 0, None, b"x", b"")])
    assert [one for one in await member.poll(10) if one.records] == []
    with pytest.raises(BrokerError, match="emails"):
        member.seek(("emails", 0), 0)


async def test_following_an_unknown_topic_is_refused_and_changes_nothing(broker, join, drain, order):
    member, _ = await join(broker, "app.f", "orders")
    with pytest.raises(UnknownTopic, match="order"):
        await member.subscribe(["order"])
    await broker.append([order(b"x")])
    assert len(await drain(member, 1)) == 1
