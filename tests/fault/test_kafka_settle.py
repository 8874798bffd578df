"""A death at every step of a settlement in transactions: what is done and what is visible never part.

The steps are the calls to the producer. Before or after each of them it dies as it would with its process: its
connections are cut, nothing of it goes on, nothing is aborted. (Its member leaves the group, so that nobody has to wait
for the end of a session.) The next owner takes over and ends the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
from aiokafka.producer.transaction_manager import TransactionState
from kafkaclient import PATIENCE, append, everything, fresh, quick

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Assigned, Member, Partition, TopicSpec
from headrace.runtime.progress import Progress
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Done, Emitted
from headrace.triggers.brokers.kafka import KafkaLog, inside

EVENTS = 6
ROUNDS = ((1, 3), (0,), (2, 4, 5))  # the events that are done by each settlement
STEPS = ("begin_transaction", "send_batch", "send_offsets_to_transaction", "commit_transaction")
POLICY = RetryPolicy(attempts=3, delay=1.0, factor=2.0, max_delay=60.0, jitter="none", max_age=None)


class Death(BaseException):
    """The process ends here."""


def kill(producer: Any) -> None:
    """Have it do nothing more: it knows of no transaction that it could abort, and has nothing to say it with."""
    producer._txn_manager.state = TransactionState.UNINITIALIZED
    inside.kill_producer(producer)


class Scythe:
    """Lets a producer's n-th step be its last; `after`: once it was done."""

    def __init__(self, strike_at: int | None, *, after: bool) -> None:
        self.steps = 0
        self.has_struck = False
        self._strike_at = strike_at
        self._after = after

    def sharpen(self, producer: Any) -> None:
        for name in STEPS:
            setattr(producer, name, self._step(producer, getattr(producer, name)))

    def _step(self, producer: Any, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*arguments: Any, **options: Any) -> Any:
            self.steps += 1
            strikes = self.steps == self._strike_at
            if strikes and not self._after:
                self._strike(producer)
            result = await call(*arguments, **options)
            if strikes:
                if isinstance(result, asyncio.Future):  # nobody else is there to look at how it fails
                    result.add_done_callback(asyncio.Future.exception)
                self._strike(producer)
            return result

        return step

    def _strike(self, producer: Any) -> NoReturn:
        self.has_struck = True
        kill(producer)
        raise Death


class Owner:
    """One life of the owner of the partition."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.log: KafkaLog
        self.shard: Shard
        self.member: Member

    async def begin(self) -> Owner:
        self.log = await KafkaLog.open(quick(self.scene.bootstrap))
        self.member = await self.log.join(self.scene.group, [self.scene.orders], self, transactional=True)
        self.member.seek((self.scene.orders, 0), self.shard.progress.position)
        async with asyncio.timeout(PATIENCE):
            while self.shard.progress.position < EVENTS:
                for fetched in await self.member.poll(100):
                    self.shard.offer(fetched, 0)
        return self

    async def assigned(self, partitions: list[Assigned]) -> None:
        (one,) = partitions
        terms = Terms(self.scene.group, "key", [POLICY], None, progress_limit=self.log.features.progress_limit)
        self.shard = Shard(one, Progress.restore(one.watermark or 0, one.progress), terms)

    async def revoked(self, partitions: list[Partition]) -> None: ...

    async def work(self, scythe: Scythe) -> None:
        """Do the rounds that are left, each in a settlement of its own."""
        (claim,) = self.member._claims.values()
        scythe.sharpen(claim.transactor._producer)
        chunk = self.shard.take(1, EVENTS, 1 << 20)
        tasks = {task.offset: index for index, task in enumerate(chunk.tasks)} if chunk else {}
        for done in ROUNDS:
            for offset in done:
                if offset in tasks:
                    self.shard.report(1, tasks[offset], [self.emit(offset)], now_ms=0, draw=lambda: 0.5)
            while (settlement := self.shard.settlement()) is not None:
                await self.log.settle(settlement)
                self.shard.settled()

    def emit(self, offset: int) -> Done:
        return Done([Emitted(self.scene.emails, offset % 2, 0, None, b"%d" % offset, b"", "id")])

    async def end(self) -> None:
        await self.log.close()


class Scene:
    """Topics and a group of their own, with the events to be handled."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.group, self.orders, self.emails = fresh("app.f"), fresh("orders"), fresh("emails")
        self.log: KafkaLog

    async def open(self) -> Scene:
        self.log = await KafkaLog.open(quick(self.bootstrap))
        await self.log.ensure([TopicSpec(self.orders, 1), TopicSpec(self.emails, 2)])
        await self.log.append([append(self.orders, b"%d" % n, key=b"k%d" % n) for n in range(EVENTS)])
        return self

    async def visible(self) -> list[int]:
        """The events whose emits can be read, once every transaction until now is decided."""
        behind = await self.log.append([append(self.emails, b"-", partition=n) for n in range(2)])
        found: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            for topic, number, offset in behind:
                while (await self.log.topics([topic]))[topic].bounds[number].end <= offset:
                    pass
                found += [record.value or b"" for record in await everything(self.log, (topic, number))]
        return sorted(int(value) for value in found if value != b"-")

    async def done(self) -> list[int]:
        """The events that are done by what the group has committed."""
        lags = [lag for lag in await self.log.lag(self.group) if lag.group == self.group]
        if not lags:
            return []
        progress = Progress.restore(lags[0].committed, lags[0].progress)
        beyond = range(progress.watermark, EVENTS)
        open_ = {offset for offset in beyond if not progress._was_done(offset)}
        return [offset for offset in range(EVENTS) if offset not in open_]

    async def comes_to(self, events: list[int], when: str) -> None:
        """See that just these are done: a commit is answered before whoever asks for the group's offsets sees it."""
        until = asyncio.get_running_loop().time() + PATIENCE
        while (done := await self.done()) != events:
            assert asyncio.get_running_loop().time() < until, f"{when}: done are {done}, and visible {events}"


async def a_life(scene: Scene, scythe: Scythe) -> bool:
    """Whether the owner got to its end."""
    owner = await Owner(scene).begin()
    try:
        await owner.work(scythe)
    except (Death, BrokerUnavailable):  # one write of several has died: another may be the first to say so
        if not scythe.has_struck:
            raise
        return False
    finally:
        await owner.end()
    return True


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_what_is_done_is_what_is_visible_wherever_the_owner_dies(kafka: Any, after: bool) -> None:
    strike_at, ended = 0, False
    while not ended:
        strike_at += 1
        scene = await Scene(kafka.bootstrap).open()
        try:
            ended = await a_life(scene, Scythe(strike_at, after=after))
            if not ended:
                # The next owner takes the id, which decides what the dead one left open; then both are looked at.
                heir = await Owner(scene).begin()
                await scene.comes_to(await scene.visible(), f"after a death at step {strike_at}")
                await heir.work(Scythe(None, after=False))
                await heir.end()
            assert await scene.visible() == list(range(EVENTS))
            await scene.comes_to(list(range(EVENTS)), "at the end")
        finally:
            await scene.log.close()
    assert strike_at > len(STEPS) * len(ROUNDS)
