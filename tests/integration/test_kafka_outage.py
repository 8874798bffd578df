"""The broker goes away, or hangs, and comes back."""

from __future__ import annotations

import asyncio

import pytest
from kafkaclient import Runtime, append, everything, persist, poll_for_ever, polled, quick, values

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Settlement, TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog


@pytest.fixture
async def log(own_kafka):
    opened = await KafkaLog.open(quick(own_kafka.bootstrap, timeout_s=3.0, session_timeout_s=20.0))
    await opened.ensure([TopicSpec("orders", 2), TopicSpec("emails", 1)])
    yield opened
    await opened.close()


async def test_a_broker_that_is_killed_while_settling_and_polling_loses_nothing(log, own_kafka):
    await log.append([append("orders", b"%d" % n) for n in range(200)])
    runtime = Runtime()
    member = await runtime.join(log, "app.f", "orders")
    halfway = asyncio.Event()

    async def settle(watermark: int) -> None:
        emit = append("emails", b"%d" % watermark)
        epoch = runtime.owned["orders", 0].epoch
        await log.settle(Settlement("app.f", ("orders", 0), epoch, watermark, b"progress", [emit]))

    async def settle_all() -> None:
        for n in range(1, 201):
            await persist(lambda n=n: settle(n), log)
            if n == 100:
                halfway.set()

    settling = asyncio.create_task(settle_all())
    polling = asyncio.create_task(polled(member, lambda found: b"late" in values(found)))
    await halfway.wait()
    await asyncio.to_thread(own_kafka.kill)
    await asyncio.to_thread(own_kafka.start)
    await settling
    await persist(lambda: log.append([append("orders", b"late")]), log)
    assert values(await polling) == [*(b"%d" % n for n in range(200)), b"late"]
    emitted = [record.value for record in await everything(log, ("emails", 0))]
    assert list(dict.fromkeys(emitted)) == [b"%d" % n for n in range(1, 201)]
    (lag,) = await log.lag("app.f")
    assert (lag.committed, lag.progress) == (200, b"progress")


async def test_calls_to_a_broker_that_hangs_end_in_time_and_work_again_when_it_goes_on(log, own_kafka):
    runtime = Runtime()
    member = await runtime.join(log, "app.f", "orders")
    epoch = runtime.owned["orders", 0].epoch
    await log.append([append("emails", b"before")])
    await asyncio.to_thread(own_kafka.freeze)
    calls = [
        log.settle(Settlement("app.f", ("orders", 0), epoch, 0, b"lost?")),
        log.append([append("emails", b"lost?")]),
        log.read(("emails", 0), 1, 1),
        log.topics(),
        log.lag(""),
        log.offset_at(("orders", 0), 0),
    ]
    async with asyncio.timeout(60):  # they are bounded by 3 s; a call that is not hangs for ever
        answers = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(BrokerUnavailable, match="has not answered for"):
            await poll_for_ever(member)
    assert {type(answer) for answer in answers} == {BrokerUnavailable}
    await asyncio.to_thread(own_kafka.thaw)
    await persist(lambda: log.append([append("orders", b"after")]), log)
    found = await polled(member, lambda found: b"after" in values(found))
    assert values(found) == [b"after"]
    epoch = runtime.owned["orders", 0].epoch
    await persist(lambda: log.settle(Settlement("app.f", ("orders", 0), epoch, 1, b"kept")), log)
    assert [lag.progress for lag in await log.lag("app.f")] == [b"kept"]


async def test_a_cluster_that_is_not_there_is_named(own_kafka):
    await asyncio.to_thread(own_kafka.stop)
    with pytest.raises(BrokerUnavailable, match=rf"Kafka at {own_kafka.bootstrap} cannot be reached"):
        await KafkaLog.open(quick(own_kafka.bootstrap))
