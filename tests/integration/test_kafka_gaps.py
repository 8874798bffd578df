"""Offsets that are not there: transaction markers, compaction, retention, and a topic made anew."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition
from kafkaclient import PATIENCE, Runtime, append, everything, fresh, poll_for_ever, polled, quick, values

from headrace.functions.errors import UnknownTopic
from headrace.runtime.ports import Append, Settlement, TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog


@pytest.fixture
async def admin(kafka):
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def transactions(kafka):
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=fresh("tx"))
    await producer.start()
    yield producer
    await producer.stop()


async def write(producer, topic, value, *, commit=True):
    await producer.begin_transaction()
    await producer.send_and_wait(topic, value, partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())


async def test_a_poll_passes_over_transaction_markers_and_what_was_aborted(log, topic, transactions):
    await write(transactions, topic, b"0")  # a marker at 1
    await write(transactions, topic, b"gone", commit=False)  # 2, 3
    member = await Runtime().join(log, fresh("app.f"), topic)
    found = await polled(member, lambda found: bool(found) and found[-1].next == 4)
    assert values(found) == [b"0"]
    await write(transactions, topic, b"gone too", commit=False)  # 4, 5: nothing but a moved position
    found = await polled(member, lambda found: bool(found) and found[-1].next == 6)
    assert values(found) == []


async def test_a_tail_of_markers_is_no_lag(log, topic, transactions):
    await write(transactions, topic, b"0")
    group, runtime = fresh("app.f"), Runtime()
    await runtime.join(log, group, topic)
    for watermark in (0, 1):
        epoch = runtime.owned[topic, 0].epoch
        await log.settle(Settlement(group, (topic, 0), epoch, watermark, b""))
        (lag,) = await log.lag(group)
        assert (lag.committed, lag.end) == (watermark, 2 if watermark == 0 else 1)


async def test_a_reader_goes_on_behind_a_long_stretch_of_what_was_aborted(log, topic, transactions):
    for _ in range(3):
        await write(transactions, topic, bytes(900_000), commit=False)
    await log.append([append(topic, b"seen")])
    async with asyncio.timeout(PATIENCE):  # an abort is acknowledged when it is decided, before its marker is written
        while (await log.topics([topic]))[topic].bounds[0].end < 7:
            await log.changed(0.02)
    fetched = await log.read((topic, 0), 0, 10)
    assert values([fetched]) == [b"seen"]
    assert fetched.next == 7


async def test_what_retention_deleted_is_passed_over(log, topic, admin):
    member = await Runtime().join(log, fresh("app.f"), topic)
    await log.append([append(topic, b"%d" % n) for n in range(10)])
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(7)})
    member.seek((topic, 0), 2)
    found = await polled(member, lambda found: len(values(found)) >= 3)
    assert values(found) == [b"7", b"8", b"9"]


async def test_a_topic_made_anew_under_a_group_is_read_from_its_beginning(log, topic, admin):
    group, runtime = fresh("app.f"), Runtime()
    await log.append([append(topic, b"old") for _ in range(10)])
    member = await runtime.join(log, group, topic)
    await polled(member, lambda found: len(values(found)) == 10)
    await log.settle(Settlement(group, (topic, 0), runtime.owned[topic, 0].epoch, 10, b"progress"))
    await member.leave()
    await admin.delete_topics([topic])
    await until_gone(log, topic)
    await log.ensure([TopicSpec(topic, 1)])
    await log.append([append(topic, b"new")])
    again = Runtime()
    member = await again.join(log, group, topic)
    assert again.owned[topic, 0].watermark in {None, 0}
    assert values(await polled(member, lambda found: bool(values(found)))) == [b"new"]


async def until_gone(log, topic):
    async with asyncio.timeout(PATIENCE):
        while topic in await log.topics():
            await log.changed(0.02)


@pytest.mark.parametrize("own_kafka", [{"log.cleaner.backoff.ms": "100"}], indirect=True)
async def test_compaction_leaves_gaps_that_are_passed_over(own_kafka):
    client = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await client.start()
    configs = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.001"}
    await client.create_topics([NewTopic("prices", 1, 1, topic_configs=configs)])
    await client.close()
    log = await KafkaLog.open(quick(own_kafka.bootstrap))
    async with asyncio.timeout(PATIENCE):  # the broker learns of it from the controller, which has answered
        while "prices" not in await log.topics(["prices"]):
            await log.changed(0.02)
    now = 1_700_000_000_000

    async def write(n: int) -> None:  # the age of a segment is that of its records
        await log.append([Append("prices", 0, now + 1000 * n, b"k%d" % (n % 2), b"%d" % n, b"")])

    n = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            await write(n)
            n += 1
            records = await everything(log, ("prices", 0))
            if len(records) < n - 1 and n > 10:
                break
            await log.changed(0.1)
    member = await Runtime().join(log, "app.f", "prices")
    found = await polled(member, lambda found: bool(found) and found[-1].next == n)
    offsets = [record.offset for fetched in found for record in fetched.records]
    assert offsets == sorted(set(offsets))
    assert len(offsets) < n
    assert values(found)[-1] == b"%d" % (n - 1)
    await log.close()


async def test_a_topic_made_anew_under_a_running_member_is_read_from_its_beginning(log, topic, admin):
    runtime = Runtime()
    await log.append([append(topic, b"old") for _ in range(10)])
    member = await runtime.join(log, fresh("app.f"), topic)
    await polled(member, lambda found: len(values(found)) == 10)
    await admin.delete_topics([topic])
    await until_gone(log, topic)
    await log.ensure([TopicSpec(topic, 1)])
    await log.append([append(topic, b"new")])
    assert values(await polled(member, lambda found: bool(values(found)))) == [b"new"]


async def test_a_topic_deleted_under_a_member_is_told_and_goes_on_when_it_is_back(log, topic, admin):
    member = await Runtime().join(log, fresh("app.f"), topic)
    await admin.delete_topics([topic])
    with pytest.raises(UnknownTopic, match=f"'{topic}' does not exist"):
        await poll_for_ever(member)
    await log.ensure([TopicSpec(topic, 1)])
    await log.append([append(topic, b"back")])
    assert values(await polled(member, lambda found: bool(values(found)))) == [b"back"]
