"""Records that wait for their time: not before it, exactly once, and whoever is there then brings them in."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace.functions.errors import BrokerError, UnknownTopic
from headrace.functions.partition import partition_of
from headrace.runtime.ports import Append, Delayed, Position, Settlement, Ticket

ORDERS = ("orders", 0)
SOON_MS = 150
LATER_MS = 3_600_000


@pytest.fixture
def delays(broker):
    if not broker.features.delayed:
        pytest.skip("nothing waits on this broker")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def waiting(value: bytes, due: int, *, key: bytes | None = None, partition: int = 0, topic: str = "orders") -> Append:
    return Append(topic, partition, 1_700_000_000_000, key, value, b"h", due)


@pytest.fixture
def arrived():
    """Reads a partition until `count` records are there, and sees to it that none is there before `due`."""

    async def read(store, count: int, due: int = 0, partition=ORDERS) -> list[bytes]:
        async with asyncio.timeout(60):
            while True:
                records = (await store.read(partition, 0, 1000)).records
                assert not records or now_ms() >= due
                if len(records) >= count:
                    return [record.value for record in records]
                await store.changed(0.01)

    return read


async def test_a_record_that_waits_has_no_offset_and_is_not_there_before_its_time(broker, delays, arrived, order):
    much = now_ms() + LATER_MS
    positions = await broker.append([waiting(b"later", much), order(b"now"), waiting(b"any", much, partition=-1)])
    assert positions == [Position("orders", 0, -1), Position("orders", 0, 0), Position("orders", -1, -1)]
    due = now_ms() + SOON_MS
    await broker.append([waiting(b"soon", due, partition=1)])
    assert await arrived(broker, 1, due, ("orders", 1)) == [b"soon"]
    assert [record.value for record in (await broker.read(ORDERS, 0, 9)).records] == [b"now"]


async def test_what_waits_is_counted_for_the_topics_that_are_asked_for(broker, delays, arrived):
    assert await broker.delayed(["orders"]) == Delayed(0, None)
    much = now_ms() + LATER_MS
    await broker.append([waiting(b"b", much + 5), waiting(b"a", much, partition=-1)])
    assert await broker.delayed(["orders", "nope"]) == Delayed(2, much)
    assert await broker.delayed(["nope"]) == await broker.delayed([]) == Delayed(0, None)
    await broker.append([waiting(b"soon", now_ms() + SOON_MS)])
    assert await arrived(broker, 1) == [b"soon"]
    assert await broker.delayed(["orders"]) == Delayed(2, much)


async def test_nothing_waits_where_nothing_can(broker):
    if not broker.features.delayed:
        assert await broker.delayed(["orders"]) == Delayed()


async def test_it_comes_as_it_was_appended(broker, delays, arrived):
    await broker.append([waiting(b"x", now_ms() + SOON_MS, key=b"k")])
    await arrived(broker, 1)
    (record,) = (await broker.read(ORDERS, 0, 9)).records
    assert (record.timestamp, record.key, record.value, record.headers) == (1_700_000_000_000, b"k", b"x", b"h")


async def test_a_time_that_has_come_already_is_at_once(broker, delays):
    assert await broker.append([waiting(b"x", 1)]) == [Position("orders", 0, 0)]
    assert (await broker.append([waiting(b"y", now_ms() - 5, key=b"k", partition=-1)]))[0].offset >= 0


async def test_what_is_due_first_comes_first_and_what_is_due_together_in_order(broker, delays, arrived):
    due = now_ms() + 10 * SOON_MS  # far enough for all to be appended before it
    equal = [waiting(b"%d" % n, due) for n in range(21)]
    await broker.append([waiting(b"last", due + 50), *equal[:20], waiting(b"first", due - 50), equal[20]])
    assert await arrived(broker, 23, due - 50) == [b"first", *(b"%d" % n for n in range(21)), b"last"]


async def test_a_key_finds_its_partition_when_its_time_has_come(broker, delays, arrived):
    keys = [b"customer-%d" % n for n in range(12)]
    await broker.append([waiting(key, now_ms() + SOON_MS, key=key, partition=-1) for key in keys])
    found = {}
    for number in range(3):
        count = sum(partition_of(key, 3) == number for key in keys)
        found |= dict.fromkeys(await arrived(broker, count, partition=("orders", number)), number)
    assert found == {key: partition_of(key, 3) for key in keys}


async def test_what_can_never_be_appended_is_refused_at_once(broker, delays, order, read_all):
    due = now_ms() + LATER_MS
    with pytest.raises(UnknownTopic, match="'order' does not exist"):
        await broker.append([order(b"x"), waiting(b"x", due, topic="order")])
    with pytest.raises(BrokerError, match="no partition 3"):
        await broker.append([order(b"x"), waiting(b"x", due, partition=3)])
    assert await read_all(broker, ORDERS) == []


async def test_it_outlives_the_client_that_appended_it(broker, delays, client, arrived):
    due = now_ms() + SOON_MS
    await broker.append([waiting(b"x", due)])
    await broker.close()
    assert await arrived(await client(), 1, due) == [b"x"]


async def test_a_client_that_is_there_already_takes_over_from_one_that_closes(broker, delays, client, arrived):
    other = await client()
    due = now_ms() + SOON_MS
    await other.append([waiting(b"x", due)])
    await other.close()
    assert await arrived(broker, 1, due) == [b"x"]


async def test_it_comes_once_however_many_clients_there_are(broker, delays, client, arrived):
    others = [await client() for _ in range(3)]
    due = now_ms() + SOON_MS
    for n in range(60):
        await others[n % 3].append([waiting(b"%d" % n, due + n % 7)])
    await arrived(broker, 60, due)
    await broker.append([waiting(b"60", now_ms() + SOON_MS)])
    assert sorted(await arrived(broker, 61, due), key=int) == [b"%d" % n for n in range(61)]


async def test_what_a_settlement_appends_may_wait_too(broker, delays, join, arrived):
    _, handed = await join(broker, "app.f", "orders")
    due = now_ms() + SOON_MS
    settlement = Settlement(
        "app.f", ORDERS, handed.partitions[ORDERS].epoch, 0, b"one", [waiting(b"mail", due, topic="emails")]
    )
    await broker.settle(settlement)
    await broker.settle(settlement)
    assert [lag.progress for lag in await broker.lag("app.f")] == [b"one"]
    assert await arrived(broker, 1, due, ("emails", 0)) == [b"mail"]


async def test_appended_again_with_its_ticket_it_waits_once(broker, delays, arrived):
    if not broker.features.once:
        pytest.skip("this broker takes no notice of tickets")
    due = now_ms() + SOON_MS
    appends = [waiting(b"once", due)]
    first = await broker.append(appends, ticket=Ticket("p", 0))
    assert await broker.append(appends, ticket=Ticket("p", 0)) == first
    await broker.append([waiting(b"end", due + 1)])
    assert await arrived(broker, 2, due) == [b"once", b"end"]


async def test_what_waits_goes_with_its_topic(broker, delays, arrived):
    await broker.append([waiting(b"gone", now_ms() + SOON_MS, topic="emails"), waiting(b"end", now_ms() + SOON_MS)])
    spec = (await broker.topics(["emails"]))["emails"].spec
    await broker.delete("emails")
    await broker.ensure([spec])
    await arrived(broker, 1)
    assert (await broker.read(("emails", 0), 0, 9)).records == []


async def test_where_nothing_waits_it_is_refused_with_what_to_do(broker, join, order, read_all):
    if broker.features.delayed:
        pytest.skip("records wait on this broker")
    late = waiting(b"x", now_ms() + LATER_MS)
    with pytest.raises(BrokerError, match=r"cannot keep an event back.*or use the embedded log"):
        await broker.append([order(b"x"), late])
    _, handed = await join(broker, "app.f", "orders")
    with pytest.raises(BrokerError, match="cannot keep an event back"):
        await broker.settle(Settlement("app.f", ORDERS, handed.partitions[ORDERS].epoch, 1, b"", [late]))
    assert await read_all(broker, ORDERS) == []
