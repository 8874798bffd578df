"""A runtime's membership in a group: what it has, and how it takes what the group tells it.

aiokafka's rebalance is an eager one: whatever changes in the group, all partitions are given up and handed out anew.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from aiokafka import TopicPartition

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import Assigned, Bounds, Fetched, Partition, Rebalance
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.claims import Claim, Claims
from headrace.triggers.brokers.kafka.committer import Committer
from headrace.triggers.brokers.kafka.desk import Desk
from headrace.triggers.brokers.kafka.handover import Handover
from headrace.triggers.brokers.kafka.intake import Intake, Truncated
from headrace.triggers.brokers.kafka.link import Link, Revival
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.transactor import Transactor

_IDLE_S = 1.0
_LOOK_S = 0.1
_AGAIN_S = 1.0  # until partitions are asked for again that could not be taken over

log = structlog.get_logger("headrace")


class KafkaMember:
    """Implements `ports.Member`. Made by `open`. `exact`: its settlements are transactions."""

    def __init__(
        self, desk: Desk, claims: Claims, group: str, topics: Sequence[str], rebalance: Rebalance, *, exact: bool
    ) -> None:
        self.group = group
        self.link = Link(group, desk.settings, desk.calls, _Told(self))
        self.committer = Committer(group, desk.calls, self.link.commit)
        self._desk = desk
        self._registry = claims  # those of all members of the store
        self._exact = exact
        self._topics = list(dict.fromkeys(topics))
        self._rebalance = rebalance
        self._intake = Intake(group, desk.cluster)
        self._handover = Handover(group, desk.cluster, exact=exact)
        self._revival = Revival(group)
        self._claims: dict[Partition, Claim] = {}
        self._turn = asyncio.Lock()  # the runtime is told one thing at a time
        self._settled_in = asyncio.Event()  # assigned, and not being changed
        self._left = False
        self._failure: Exception | None = None
        self._trouble: BrokerError | None = None  # why what was assigned could not be taken over

    def __repr__(self) -> str:
        state = "left" if self._left else "changing" if not self._settled_in.is_set() else "settled in"
        return f"<KafkaMember of {self.group}: {len(self._claims)} partitions, {state}>"

    # -- what the runtime does ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Join, and wait for the first assignment. Raises what that raises, having left."""
        await self._desk.topics.require(self._topics)
        try:
            await self._connect()
            await self._until_settled_in()
        except BaseException:
            self._left = True
            self._forget()
            self.link.put_away()
            raise

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """See `ports.Member.poll`; waits a second at most."""
        self._check_joined()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _IDLE_S
        async with self._desk.calls.bounded(f"polling for group {self.group!r}", _IDLE_S + self._desk.calls.timeout_s):
            await asyncio.sleep(0)  # a poll that is cancelled before it has run takes nothing
            if self.link.is_lost:
                self._revival.begin(self._revive)
            while not self._left:
                self._intake.listen()
                fetched = await self._take(limit)
                patience = deadline - loop.time()
                if fetched or patience <= 0:
                    return fetched or await self._nothing()
                await self._intake.wait(patience)
        return []

    def seek(self, partition: Partition, offset: int) -> None:
        """See `ports.Member.seek`."""
        self._check(partition)
        self._intake.seek(partition, offset)

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        """See `ports.Member.pause`."""
        for partition in partitions:
            self._check(partition)
        self._intake.pause(partitions, paused=paused)

    async def subscribe(self, topics: Sequence[str]) -> None:
        """See `ports.Member.subscribe`: the rebalance begins at once."""
        self._check_joined()
        await self._desk.topics.require(topics)
        self._topics = list(dict.fromkeys(topics))
        self._settled_in.clear()
        self.link.subscribe(self._topics)
        await self._until_settled_in()

    async def leave(self) -> None:
        """See `ports.Member.leave`. Doing it twice does nothing."""
        if self._left:
            return
        self._end()
        async with self._turn:
            try:
                if owned := list(self._claims):
                    await self._rebalance.revoked(owned)
            finally:
                transactors = self._forget()
                self.link.put_away()
                await asyncio.gather(self.link.ended(), *(one.ended() for one in transactors))

    async def close(self) -> None:
        """End without telling the runtime."""
        self._end()
        transactors = self._forget()
        self.link.put_away()
        await asyncio.gather(self.link.ended(), self.committer.close(), *(one.ended() for one in transactors))

    @property
    def is_settled(self) -> bool:
        """See `ports.Member.is_settled`."""
        return self._settled_in.is_set()

    @property
    def has_left(self) -> bool:
        """Whether it is no member any more, by its own doing."""
        return self._left

    # -- what the group tells -------------------------------------------------------------------------------------

    async def told_revoked(self) -> None:
        """All partitions are to be given up."""
        self._settled_in.clear()
        self._intake.bell.set()
        async with self._turn:
            if (owned := list(self._claims)) and not self._left:
                await self._guarded(partial(self._rebalance.revoked, owned))
            self._forget()

    async def told_assigned(self, partitions: Sequence[Partition]) -> None:
        """These partitions are ours now."""
        consumer = self.link.consumer
        for partition in partitions:  # before anything is awaited: aiokafka is not to choose a position
            consumer.seek(TopicPartition(*partition), 0)
            consumer.pause(TopicPartition(*partition))
        async with self._turn:
            if self._left:
                return
            try:
                async with self.link.beating():
                    await self._take_over(partitions)
            except BrokerError as error:
                self._trouble = error  # polls say so
            else:
                self._trouble = None
                self._settled_in.set()
                self._intake.bell.set()
                return
        async with self.link.beating():
            await asyncio.sleep(_AGAIN_S)
        if not self._left:
            self.link.rejoin()

    async def _take_over(self, partitions: Sequence[Partition]) -> None:
        membership = inside.membership(self.link.consumer)
        self.link.heard(time.monotonic())
        made = [Transactor(self._desk, self.group, one) for one in partitions] if self._exact else []
        try:
            # To be the only one who can settle comes before looking up what was settled.
            await asyncio.gather(*(one.open() for one in made))
            marks, bounds = await self._handover.look_up(partitions)
        except BaseException:
            for transactor in made:
                transactor.give_up()
            raise
        if assigned := self._claim(membership, marks, bounds, made):
            await self._guarded(partial(self._rebalance.assigned, assigned))

    def _claim(
        self,
        membership: tuple[int, str],
        marks: Mapping[Partition, Mark],
        bounds: dict[Partition, Bounds],
        transactors: Sequence[Transactor],
    ) -> list[Assigned]:
        settling = {transactor.partition: transactor for transactor in transactors}
        self._intake.begin(bounds)
        assigned = []
        for one in sorted(bounds):
            mark = marks.get(one)
            if (transactor := settling.get(one)) is not None:
                transactor.begin(mark)
            claim = self._claims[one] = self._registry.make(self, one, membership, transactor)
            watermark, progress = (None, b"") if mark is None else (mark.watermark, mark.progress)
            assigned.append(Assigned(one, claim.epoch, watermark, progress, bounds[one]))
        return assigned

    async def _guarded(self, tell: Callable[[], Any]) -> None:
        try:
            await tell()
        except Exception as failure:  # noqa: BLE001  (it is raised to who joined or polls)
            self._failure = failure
            self._forget()
            self.link.put_away()

    # -- how it is done -------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self.link.open(self._topics)
        self._intake.consumer = self.link.consumer

    async def _revive(self) -> None:
        await self._desk.topics.refresh()  # while nobody answers at all, a new consumer would not either
        await self.told_revoked()
        self.link.put_away()
        await self._connect()

    async def _until_settled_in(self) -> None:
        settings = self._desk.settings
        # Whoever has partitions of the group may take the whole rebalance time to let them go.
        until = asyncio.get_running_loop().time() + settings.rebalance_timeout_s + settings.timeout_s
        async with self._desk.calls.bounded(f"joining group {self.group!r}", math.inf):
            while not self._settled_in.is_set() and self._failure is None:
                inside.check(self.link.consumer)
                if self._trouble is not None and not isinstance(self._trouble, BrokerUnavailable):
                    raise self._trouble  # waiting does not help
                if asyncio.get_running_loop().time() > until:
                    raise BrokerUnavailable(
                        f"group {self.group!r} at {self._desk.calls.where} does not come to an end of its rebalance: a "
                        "member that died is waited for until its session is over, one that lets go until it is done; "
                        "joining again may help"
                    )
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._settled_in.wait()
        if self._failure is not None:
            raise self._failure

    async def _take(self, limit: int) -> list[Fetched]:
        if self._revival.is_under_way:
            return []
        if not self._settled_in.is_set():
            inside.touch(self.link.consumer)
            inside.check(self.link.consumer)
            return []
        try:
            return await self._intake.take(limit)
        except Truncated as error:
            log.warning("the log was cut; taking all partitions anew", group=self.group, error=str(error))
            self._settled_in.clear()
            self.link.rejoin()
            return []

    async def _nothing(self) -> list[Fetched]:
        """What a poll that found nothing answers: whether that is for a reason."""
        self._revival.check()
        if self._settled_in.is_set():
            self.link.check()
        elif self._trouble is not None:
            raise self._trouble
        await self._desk.topics.require(self._topics)  # looked at now and then: they may have been deleted
        return []

    def _end(self) -> None:
        self._left = True
        self._intake.bell.set()
        self._revival.cancel()

    def _forget(self) -> list[Transactor]:
        """Own nothing any more; what settled it, and may take a moment to end."""
        claims = list(self._claims.values())
        for claim in claims:
            self._registry.drop(claim)
        self._claims.clear()
        self._intake.stop()
        self._settled_in.clear()
        return [claim.transactor for claim in claims if claim.transactor is not None]

    def _check_joined(self) -> None:
        self._desk.calls.check()
        if self._left:
            raise BrokerError(f"this member has left group {self.group!r}: join again to poll")
        if self._failure is not None:
            raise BrokerError(
                f"this member is out of group {self.group!r}, because a rebalance failed in it ({self._failure}): join "
                "again"
            ) from self._failure

    def _check(self, partition: Partition) -> None:
        if partition not in self._claims:
            topic, number = partition
            raise BrokerError(f"partition {number} of {topic!r} is not assigned to this member of {self.group!r}")


class _Told(inside.Listener):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's listener: hands on to the member."""

    def __init__(self, member: KafkaMember) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002  (it is always all of them)
        await self._member.told_revoked()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._member.told_assigned([(one.topic, one.partition) for one in assigned])
