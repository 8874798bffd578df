"""Records that a topic does not take, beside those it does."""

from __future__ import annotations

import asyncio

import pytest
from kafkaclient import append, everything, fresh, quick

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog


@pytest.fixture(params=[None, "lz4", "zstd"])
async def log(kafka, request):
    opened = await KafkaLog.open(quick(kafka.bootstrap, compression=request.param))
    yield opened
    await opened.close()


def noise(size: int) -> bytes:
    """Bytes that compress badly."""
    from random import Random

    return Random(size).randbytes(size)


async def test_a_record_too_large_is_refused_with_its_size_and_the_limit_and_others_are_written(log):
    topic = fresh("orders")
    await log.ensure([TopicSpec(topic, 1)])
    small = [log.append([append(topic, b"%d" % n)]) for n in range(10)]
    large = log.append([append(topic, noise(1_500_000))])
    more = [log.append([append(topic, b"%d" % n)]) for n in range(10, 20)]
    *before, refused = await asyncio.gather(*small, large, return_exceptions=True)
    after = await asyncio.gather(*more)
    assert [position.offset for (position,) in before] == list(range(10))
    assert [position.offset for (position,) in after] == list(range(10, 20))
    assert isinstance(refused, BrokerError)
    assert not isinstance(refused, BrokerUnavailable)
    with pytest.raises(BrokerError, match=r"1500000 bytes is too large for topic .* which takes 1048588 bytes"):
        raise refused


async def test_a_batch_that_a_topic_does_not_take_is_written_in_parts(log):
    topic = fresh("orders")
    await log.ensure([TopicSpec(topic, 1, max_bytes=5000)])
    bodies = [b"%d " % n + noise(900) for n in range(50)]
    positions = await log.append([append(topic, body) for body in bodies])
    assert sorted(position.offset for position in positions) == list(range(50))
    assert [record.value for record in await everything(log, (topic, 0))] == bodies
    with pytest.raises(BrokerError, match="which takes 5000 bytes"):
        await log.append([append(topic, noise(6000))])


async def test_a_900_kb_record_goes_through(log):
    topic = fresh("orders")
    await log.ensure([TopicSpec(topic, 1)])
    body = noise(900_000)
    await log.append([append(topic, body), append(topic, b"next"), append(topic, body)])
    assert [record.value for record in await everything(log, (topic, 0))] == [body, b"next", body]
