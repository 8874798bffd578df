"""Transactions of one partition's transactional id: all or nothing, once, and never by two."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kafkaclient import PATIENCE, append, everything, fresh, quick

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog
from headrace.triggers.brokers.kafka.committer import NotOwner
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.transactor import Transactor


class Bench:
    """A cluster, a topic to write to, and transactors of one and the same partition."""

    def __init__(self, bootstrap: str) -> None:
        self.settings = quick(bootstrap)
        self.group, self.orders, self.emails = fresh("app.f"), fresh("orders"), fresh("emails")
        self.log: KafkaLog
        self.made: list[Transactor] = []

    async def open(self) -> Bench:
        self.log = await KafkaLog.open(self.settings)
        await self.log.ensure([TopicSpec(self.orders, 1), TopicSpec(self.emails, 2)])
        return self

    async def transactor(self) -> Transactor:
        one = Transactor(self.log._desk, self.group, (self.orders, 0))
        self.made.append(one)
        await one.open()
        one.begin(await self.mark())
        return one

    async def mark(self) -> Mark | None:
        place = (self.orders, 0)
        marks = await self.log._cluster.until_answered("asking", lambda: self.log._cluster.marks(self.group, [place]))
        return marks.get(place)

    async def comes_to(self, mark: Mark) -> None:
        """Wait for the mark: a commit is acknowledged when decided, and the log of offsets learns of it a bit later."""
        async with asyncio.timeout(PATIENCE):
            while await self.mark() != mark:
                pass

    def emits(self, *names: str) -> list[Any]:
        return [(append(self.emails, name.encode()), (self.emails, n % 2)) for n, name in enumerate(names)]

    async def visible(self) -> list[str]:
        """What a reader of committed records finds, once all transactions until now are decided: a plain record that is
        written behind them is not read before.
        """
        ends = [append(self.emails, b"the end", partition=n) for n in range(2)]
        behind = await self.log.append(ends)
        found: list[str] = []
        async with asyncio.timeout(PATIENCE):
            for topic, number, offset in behind:
                while (end := (await self.log.topics())[topic].bounds[number].end) <= offset:
                    assert end >= 0
                found += [(r.value or b"").decode() for r in await everything(self.log, (topic, number))]
        return sorted(name for name in found if name != "the end")

    async def close(self) -> None:
        for one in self.made:
            one.give_up()
            await one.ended()
        await self.log.close()


@pytest.fixture
async def bench(kafka: Any) -> AsyncIterator[Bench]:
    bench = await Bench(kafka.bootstrap).open()
    yield bench
    await bench.close()


def break_commit(transactor: Transactor, *, after: bool) -> None:
    """Have the next commit fail, after it was done or before."""
    producer = transactor._producer
    commit: Callable[[], Awaitable[None]] = producer.commit_transaction

    async def broken() -> None:
        if after:
            await commit()
        raise TimeoutError

    producer.commit_transaction = broken


async def test_appends_and_mark_become_visible_together(bench: Bench) -> None:
    transactor = await bench.transactor()
    assert await bench.mark() is None
    await transactor.settle(Mark.of(3, b"p"), bench.emits("a", "b", "c"))
    assert await bench.visible() == ["a", "b", "c"]
    await bench.comes_to(Mark.of(3, b"p"))
    await transactor.settle(Mark.of(4, b"q"), [])
    await bench.comes_to(Mark.of(4, b"q"))


async def test_a_transaction_whose_result_was_lost_is_not_written_again(bench: Bench) -> None:
    transactor = await bench.transactor()
    break_commit(transactor, after=True)
    with pytest.raises(BrokerUnavailable):
        await transactor.settle(Mark.of(1, b"p"), bench.emits("a"))
    await transactor.settle(Mark.of(1, b"p"), bench.emits("a"))
    assert await bench.visible() == ["a"]
    await bench.comes_to(Mark.of(1, b"p"))


async def test_a_transaction_that_failed_leaves_nothing_and_is_written_again(bench: Bench) -> None:
    transactor = await bench.transactor()
    await transactor.settle(Mark.of(1, b"p"), bench.emits("a"))
    break_commit(transactor, after=False)
    with pytest.raises(BrokerUnavailable):
        await transactor.settle(Mark.of(2, b"q"), bench.emits("b"))
    await bench.comes_to(Mark.of(1, b"p"))
    await transactor.settle(Mark.of(2, b"q"), bench.emits("b"))
    assert await bench.visible() == ["a", "b"]
    await bench.comes_to(Mark.of(2, b"q"))


async def test_what_an_owner_that_died_left_open_is_ended_by_the_next(bench: Bench) -> None:
    dead = await bench.transactor()
    await dead._producer.begin_transaction()
    await dead._write(dead._producer, (bench.emails, 0), deque([append(bench.emails, b"x")]))
    heir = await bench.transactor()
    await heir.settle(Mark.of(1, b"p"), bench.emits("a"))
    assert await bench.visible() == ["a"]
    await bench.comes_to(Mark.of(1, b"p"))


async def test_an_owner_that_was_followed_by_another_is_fenced_once_that_one_has_settled(bench: Bench) -> None:
    old = await bench.transactor()
    await old.settle(Mark.of(1, b"p"), bench.emits("a"))
    new = await bench.transactor()
    await new.settle(Mark.of(2, b"q"), bench.emits("b"))
    with pytest.raises(BrokerUnavailable):
        await old.settle(Mark.of(2, b"other"), bench.emits("stale"))
    with pytest.raises(NotOwner):
        await old.settle(Mark.of(2, b"other"), bench.emits("stale"))
    with pytest.raises(BrokerUnavailable):  # the old one had taken the id back, to look
        await new.settle(Mark.of(3, b"r"), bench.emits("c"))
    await new.settle(Mark.of(3, b"r"), bench.emits("c"))
    assert await bench.visible() == ["a", "b", "c"]
    await bench.comes_to(Mark.of(3, b"r"))
