"""Appending, and reading back without a group."""

from __future__ import annotations

import asyncio

import pytest

from headrace.functions.errors import BrokerError, UnknownTopic
from headrace.functions.partition import partition_of
from headrace.runtime.ports import Append
from headrace.sandbox.headers import pack, unpack


async def test_appended_records_are_read_in_order_with_offsets_without_gaps(broker, order, read_all):
    positions = await broker.append([order(b"%d" % n) for n in range(250)])
    assert [position.offset for position in positions] == list(range(250))
    records = await read_all(broker, ("orders", 0))
    assert [(record.offset, record.value) for record in records] == [(n, b"%d" % n) for n in range(250)]


async def test_many_appends_at_once_each_get_their_own_offsets(broker, order, read_all):
    calls = [broker.append([order(b"%d.0" % n), order(b"%d.1" % n)]) for n in range(100)]
    answers = await asyncio.gather(*calls)
    stored = {record.offset: record.value for record in await read_all(broker, ("orders", 0))}
    assert sorted(stored) == list(range(200))
    for n, (first, second) in enumerate(answers):
        assert (stored[first.offset], stored[second.offset]) == (b"%d.0" % n, b"%d.1" % n)


async def test_appends_are_written_in_the_order_of_the_calls(broker, order, read_all):
    await asyncio.gather(*(broker.append([order(b"%d" % n)]) for n in range(50)))
    assert [record.value for record in await read_all(broker, ("orders", 0))] == [b"%d" % n for n in range(50)]


async def test_timestamps_come_back_as_given(broker):
    (position,) = await broker.append([Append("emails", 0, 1_234_567_890_123, None, b"x", b"")])
    fetched = await broker.read(("emails", 0), position.offset, 1)
    assert fetched.records[0].timestamp == 1_234_567_890_123


async def test_headers_come_back_byte_for_byte(broker, order, read_all):
    headers = [("a", b"1"), ("b", b"\xff\xfe\x00"), ("a", b"2"), ("", b""), ("a", b"1")]
    await broker.append([order(b"x", headers=pack(headers)), order(b"x")])
    first, second = await read_all(broker, ("orders", 0))
    assert unpack(first.headers) == headers
    assert second.headers == b""


async def test_a_tombstone_is_not_an_empty_value_and_no_key_is_not_an_empty_key(broker, order, read_all):
    await broker.append([order(None, key=None), order(b"", key=b""), order(None, key=b""), order(b"", key=None)])
    records = await read_all(broker, ("orders", 0))
    assert [(record.key, record.value) for record in records] == [(None, None), (b"", b""), (b"", None), (None, b"")]


async def test_bytes_of_every_value_survive(broker, order, read_all):
    every = bytes(range(256))
    await broker.append([order(every, key=every)])
    (record,) = await read_all(broker, ("orders", 0))
    assert (record.key, record.value) == (every, every)


async def test_a_key_goes_to_its_partition(broker, order):
    keys = [b"customer-%d" % n for n in range(40)]
    positions = await broker.append([order(b"x", key=key, partition=-1) for key in keys])
    assert [position.partition for position in positions] == [partition_of(key, 3) for key in keys]
    assert {position.partition for position in positions} == {0, 1, 2}


async def test_records_without_a_key_are_spread(broker, order):
    positions = await broker.append([order(b"x", partition=-1) for _ in range(30)])
    assert {position.partition for position in positions} == {0, 1, 2}


async def test_an_unknown_topic_is_named_with_its_near_match_and_nothing_is_written(broker, order, read_all):
    with pytest.raises(UnknownTopic, match=r"'order' does not exist.*'orders'"):
        await broker.append([order(b"x"), Append("order", -1, 0, None, b"x", b"")])
    assert await read_all(broker, ("orders", 0)) == []


async def test_a_partition_that_is_not_there_is_refused_and_nothing_is_written(broker, order, read_all):
    with pytest.raises(BrokerError, match=r"'orders' has no partition 3: it has 0 to 2"):
        await broker.append([order(b"x"), order(b"x", partition=3)])
    assert await read_all(broker, ("orders", 0)) == []


async def test_one_refused_append_leaves_those_beside_it_alone(broker, order, read_all):
    good = [broker.append([order(b"%d" % n)]) for n in range(10)]
    bad = broker.append([Append("nowhere", -1, 0, None, b"x", b"")])
    *answers, refused = await asyncio.gather(*good, bad, return_exceptions=True)
    assert isinstance(refused, UnknownTopic)
    assert [position.offset for (position,) in answers] == list(range(10))
    assert len(await read_all(broker, ("orders", 0))) == 10


async def test_reading_takes_no_more_than_the_limit_and_says_where_to_go_on(broker, order):
    await broker.append([order(b"%d" % n) for n in range(10)])
    fetched = await broker.read(("orders", 0), 3, 4)
    assert [record.offset for record in fetched.records] == [3, 4, 5, 6]
    assert fetched.next == 7


async def test_reading_at_the_end_finds_nothing_and_stays(broker, order):
    await broker.append([order(b"x")])
    fetched = await broker.read(("orders", 0), 1, 10)
    assert (list(fetched.records), fetched.next) == ([], 1)


async def test_reading_an_unknown_topic_or_partition_is_refused(broker):
    with pytest.raises(UnknownTopic):
        await broker.read(("nowhere", 0), 0, 1)
    with pytest.raises(BrokerError, match="no partition 1"):
        await broker.read(("emails", 1), 0, 1)


async def test_a_reader_is_told_of_what_was_appended_after_its_last_read(broker, order):
    await broker.read(("orders", 0), 0, 1)
    await broker.append([order(b"x")])
    async with asyncio.timeout(60):
        await broker.changed(60)


async def test_a_waiting_reader_is_woken_by_an_append(broker, order):
    waiting = asyncio.create_task(broker.changed(60))
    await broker.append([order(b"x")])
    async with asyncio.timeout(60):
        await waiting


async def test_a_waiting_reader_is_woken_by_another_client(broker, client, order):
    other = await client()
    await broker.read(("orders", 0), 0, 1)
    waiting = asyncio.create_task(broker.changed(60))
    await other.append([order(b"x")])
    async with asyncio.timeout(60):
        await waiting


async def test_waiting_for_a_change_ends_by_itself(broker):
    await broker.read(("orders", 0), 0, 1)
    async with asyncio.timeout(60):
        await broker.changed(0.01)


async def test_records_outlive_the_client(broker, client, order, read_all):
    await broker.append([order(b"kept")])
    await broker.close()
    again = await client()
    assert again.cluster == broker.cluster
    assert [record.value for record in await read_all(again, ("orders", 0))] == [b"kept"]
    (position,) = await again.append([order(b"next")])
    assert position.offset == 1
