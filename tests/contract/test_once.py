"""An append that is made again with its ticket, because its answer was lost, appends nothing and answers the same."""

from __future__ import annotations

import asyncio

import pytest

from headrace.functions.errors import BrokerError, UnknownTopic
from headrace.runtime.ports import Append, Ticket, TopicSpec

ORDERS = ("orders", 0)


@pytest.fixture(autouse=True)
def _only_where_tickets_count(broker):
    if not broker.features.once:
        pytest.skip("this broker takes no notice of tickets")


async def test_an_append_made_again_is_there_once_and_has_the_same_positions(broker, order, read_all):
    appends = [order(b"%d" % n, partition=-1, key=b"%d" % n) for n in range(9)] + [
        Append("emails", 0, 0, None, b"", b"")
    ]
    first = await broker.append(appends, ticket=Ticket("p", 0))
    await broker.append([order(b"between")])
    assert list(await broker.append(appends, ticket=Ticket("p", 0))) == list(first)
    assert sum([len(await read_all(broker, ("orders", n))) for n in range(3)]) == 10
    assert len(await read_all(broker, ("emails", 0))) == 1


async def test_so_is_one_that_is_made_several_times_at_once(broker, order, read_all):
    answers = await asyncio.gather(*(broker.append([order(b"x")], ticket=Ticket("p", 7)) for _ in range(20)))
    assert {position.offset for (position,) in answers} == {0}
    assert len(await read_all(broker, ORDERS)) == 1


async def test_other_numbers_and_other_producers_are_other_appends(broker, order, read_all):
    for ticket in (Ticket("p", 0), Ticket("p", 1), Ticket("q", 0), None, None):
        await broker.append([order(b"same")], ticket=ticket)
    assert len(await read_all(broker, ORDERS)) == 5


async def test_a_later_one_that_was_written_does_not_stand_for_an_earlier_one_that_was_not(broker, order, read_all):
    await broker.append([order(b"later")], ticket=Ticket("p", 5))
    await broker.append([order(b"earlier")], ticket=Ticket("p", 4))
    await broker.append([order(b"later")], ticket=Ticket("p", 5))
    assert [record.value for record in await read_all(broker, ORDERS)] == [b"later", b"earlier"]


async def test_hundreds_without_an_answer_can_each_be_made_again(broker, order, read_all):
    tickets = [Ticket("p", n, 0) for n in range(300)]
    first = await asyncio.gather(*(broker.append([order(b"%d" % t.number)], ticket=t) for t in tickets))
    again = await asyncio.gather(*(broker.append([order(b"%d" % t.number)], ticket=t) for t in reversed(tickets)))
    assert again == first[::-1]
    assert len(await read_all(broker, ORDERS)) == 300


async def test_what_has_its_answer_is_forgotten_and_what_has_none_is_not(broker, order, read_all):
    for n in range(5):
        await broker.append([order(b"%d" % n)], ticket=Ticket("p", n, 0))
    await broker.append([order(b"5")], ticket=Ticket("p", 5, answered=3))
    for n in (3, 4, 5):
        await broker.append([order(b"%d" % n)], ticket=Ticket("p", n, 3))
    assert len(await read_all(broker, ORDERS)) == 6


async def test_another_client_of_the_log_can_make_it_again(broker, client, order, read_all):
    (first,) = await broker.append([order(b"x")], ticket=Ticket("p", 0))
    await broker.close()
    again = await client()
    assert await again.append([order(b"x")], ticket=Ticket("p", 0)) == [first]
    assert len(await read_all(again, ORDERS)) == 1


async def test_what_was_refused_was_not_appended_and_may_be_made_again(broker, order, read_all):
    with pytest.raises(UnknownTopic):
        await broker.append([order(b"x"), Append("new", 0, 0, None, b"x", b"")], ticket=Ticket("p", 0))
    with pytest.raises(BrokerError, match="no partition"):
        await broker.append([order(b"x", partition=9)], ticket=Ticket("p", 0))
    await broker.ensure([TopicSpec("new", 1)])
    await broker.append([order(b"x"), Append("new", 0, 0, None, b"x", b"")], ticket=Ticket("p", 0))
    assert len(await read_all(broker, ORDERS)) == len(await read_all(broker, ("new", 0))) == 1
