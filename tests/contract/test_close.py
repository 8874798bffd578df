"""Closing: nobody waits for ever, and nothing works afterwards."""

from __future__ import annotations

import asyncio

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Settlement, TopicSpec


async def test_closing_wakes_all_that_wait(broker, join):
    member, _ = await join(broker, "app.f", "orders")

    async def for_ever(call):
        while True:
            await call()

    waiting = [asyncio.create_task(for_ever(call)) for call in (lambda: member.poll(1), lambda: broker.changed(60))]
    await asyncio.sleep(0)
    await broker.close()
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [BrokerUnavailable, BrokerUnavailable]


async def test_a_closed_broker_answers_unavailable(broker, join, order):
    member, handed = await join(broker, "app.f", "orders")
    await broker.close()
    epoch = handed.partitions["orders", 0].epoch
    calls = [
        broker.append([order(b"x")]),
        broker.settle(Settlement("app.f", ("orders", 0), epoch, 1, b"")),
        broker.ensure([TopicSpec("new")]),
        broker.read(("orders", 0), 0, 1),
        broker.changed(1),
        broker.topics(),
        broker.lag(""),
        broker.offset_at(("orders", 0), 0),
        member.poll(1),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {BrokerUnavailable}


async def test_appends_under_way_are_written_or_fail(broker, client, order, read_all):
    appends = [asyncio.create_task(broker.append([order(b"%d" % n)])) for n in range(200)]
    await asyncio.sleep(0)
    await broker.close()
    answers = await asyncio.gather(*appends, return_exceptions=True)
    again = await client()
    stored = {record.offset: record.value for record in await read_all(again, ("orders", 0))}
    for n, answer in enumerate(answers):
        assert isinstance(answer, BrokerUnavailable) or stored[answer[0].offset] == b"%d" % n


async def test_a_group_can_be_joined_again_after_its_client_closed_without_leaving(broker, client, join):
    await join(broker, "app.f", "orders")
    await broker.close()
    _, handed = await join(await client(), "app.f", "orders")
    assert len(handed.partitions) == 3


async def test_leaving_and_closing_twice_do_nothing(broker, join):
    member, handed = await join(broker, "app.f", "orders")
    await member.leave()
    await member.leave()
    assert len(handed.revoked_calls) == 1
    await broker.close()
    await broker.close()
