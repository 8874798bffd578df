"""What this project uses of aiokafka that aiokafka does not publish is there, and does what it is used for."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaClient, TopicPartition, errors
from kafkaclient import PATIENCE, Runtime, append, fresh, quick

from headrace.triggers.brokers.kafka import inside


@pytest.fixture
async def consumer(log, topic):
    member = await Runtime().join(log, fresh("app.f"), topic)
    return member.link.consumer


async def test_heartbeats_are_noted(consumer):
    beaten = asyncio.Event()
    inside.note_beats(consumer, lambda _: beaten.set())
    async with asyncio.timeout(PATIENCE):
        await beaten.wait()


async def test_what_arrives_is_told_and_shown(consumer, log, topic):
    arrival = inside.arrival(consumer)
    await log.append([append(topic, b"x")])
    async with asyncio.timeout(PATIENCE):
        await arrival
    assert inside.buffered(consumer) == [TopicPartition(topic, 0)]


async def test_the_next_fetch_has_the_patience_that_was_set(consumer):
    inside.set_patience(consumer, 123)
    assignment = consumer._subscription.subscription.assignment
    consumer._fetcher._in_flight.clear()
    requests, *_ = consumer._fetcher._get_actions_per_node(assignment)
    assert [request._max_wait_ms for _, request in requests] == [123]


async def test_a_consumer_that_is_touched_is_not_idle(consumer):
    consumer._subscription._fetch_count = 5  # polls that raised
    consumer._subscription._last_fetch_ended = 0.0
    inside.touch(consumer)
    assert consumer._subscription.fetcher_idle_time < PATIENCE
    assert consumer._subscription._fetch_count == 0


async def test_a_live_consumer_is_not_dead_and_has_a_membership(consumer):
    assert not inside.is_dead(consumer)
    inside.check(consumer)
    generation, member_id = inside.membership(consumer)
    assert generation > 0
    assert member_id


async def test_a_consumer_whose_task_has_ended_says_so(consumer):
    consumer._coordinator._coordination_task.cancel()
    await asyncio.gather(consumer._coordinator._coordination_task, return_exceptions=True)
    with pytest.raises(errors.ConsumerStoppedError):
        inside.check(consumer)


def test_each_member_has_an_assignor_of_its_own():
    one, two = inside.assignor(), inside.assignor()
    one.member_assignment = [TopicPartition("orders", 0)]
    assert two.member_assignment is None
    assert one.name == two.name == "sticky"


async def test_a_first_question_that_is_given_up_leaves_no_connection(kafka):
    closed = asyncio.Event()

    async def answer_once(reader, writer):
        """As a broker that hangs after it has said which versions it speaks."""
        beyond, back = await asyncio.open_connection(*kafka.bootstrap.split(":"))
        back.write(await reader.read(65536))
        writer.write(await beyond.read(65536))
        back.close()
        await reader.read(65536)  # the question
        asked.set()
        assert await reader.read() == b""
        writer.close()
        closed.set()

    asked = asyncio.Event()
    server = await asyncio.start_server(answer_once, "127.0.0.1")
    address, port = server.sockets[0].getsockname()
    client = AIOKafkaClient(**quick(f"{address}:{port}").client())
    inside.bootstrap_well(client)
    asking = asyncio.create_task(client.bootstrap())
    await asked.wait()
    asking.cancel()
    async with asyncio.timeout(PATIENCE):
        await closed.wait()
    server.close()


async def test_a_connection_that_comes_after_its_client_was_killed_is_closed(kafka):
    client = AIOKafkaClient(**quick(kafka.bootstrap).client())
    await client.bootstrap()
    inside.kill_client(client)
    assert await client.ready(client.get_random_node())
    assert [connection.connected() for connection in client._conns.values()] == [False]
