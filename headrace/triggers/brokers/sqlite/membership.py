"""A membership: one member's part in its group, and telling its runtime what the group brings.

Two things go on at once, so that a runtime that takes its time over what it is told does not miss a beat: a task that
beats, and now and then one that tells. While something is being told, nothing more is claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.functions.identity import fresh_id
from headrace.runtime.ports import Assigned, Rebalance
from headrace.triggers.brokers.sqlite import groups
from headrace.triggers.brokers.sqlite.heart import Desk, Heart
from headrace.triggers.brokers.sqlite.member import SqliteMember

log = structlog.get_logger("headrace")


class Membership:
    """One member of one group, from its first beat to its last. `ended` is called when it is out for good."""

    def __init__(
        self, desk: Desk, group: str, topics: Sequence[str], rebalance: Rebalance, ended: Callable[[], None]
    ) -> None:
        self.id = fresh_id()
        self.group = group
        self.member = SqliteMember(group, self, desk.reader, desk.watch)
        self._reader = desk.reader
        self._heart = Heart(desk, group, self.id)
        self._topics = tuple(topics)
        self._rebalance = rebalance
        self._ended = ended
        self._held: dict[int, Assigned] = {}
        self._moved = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._is_settled = self._is_leaving = self._is_out = False
        self._trouble: BrokerError | None = None
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        state = "moving"
        if self._is_out or self._is_leaving:
            state = "out" if self._is_out else "leaving"
        elif self._is_settled:
            state = "settled"
        return f"<Membership {self.id} in {self.group}: {state}, {len(self._held)} partitions, {self._heart!r}>"

    # -- life -----------------------------------------------------------------------------------------------------

    async def enter(self) -> None:
        """Join; returns when its share has been assigned. Raises `UnknownTopic`, and what its runtime raises."""
        try:
            await self._reader.do(partial(groups.require, topics=self._topics))
            self._heart.start()
            self._beating = asyncio.create_task(self._beat_on(), name=f"beats of {self.group}")
            await self._until_settled()
        except BaseException:
            await self._quit()
            raise

    async def follow(self, topics: Sequence[str]) -> None:
        """Subscribe to these topics instead; returns like `enter`."""
        await self._reader.do(partial(groups.require, topics=topics))
        self._topics = tuple(topics)
        self._is_settled = False
        self.urge()
        await self._until_settled()

    async def leave(self) -> None:
        """Have all revoked and give it up. Raises what its runtime raises, having left."""
        self._is_leaving = True  # it beats on, so that it can take its time
        if self._telling is not None:
            await asyncio.wait({self._telling})
        try:
            if self._held and self._failure is None:
                await self._rebalance.revoked([one.partition for one in self._held.values()])
        finally:
            await self._quit()

    async def close(self) -> None:
        """Give everything up without telling the runtime."""
        self._is_leaving = True
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await self._quit()

    def urge(self) -> None:
        """Look at once how it stands with the group."""
        self._heart.urge()

    @property
    def is_settled(self) -> bool:
        """Whether it has its share, as of its last beat."""
        return self._is_settled

    @property
    def is_late(self) -> bool:
        """Whether others may have taken over what it has: then nothing new is to be begun."""
        return self._heart.is_late

    def check(self) -> None:
        """Raise `BrokerError` if it is out because its runtime failed, or late because its beats fail."""
        if self._failure is not None:
            raise BrokerError(
                f"this member is out of group {self.group!r}, because a rebalance failed in it ({self._failure}): "
                "join again"
            ) from self._failure
        if self._trouble is not None and self.is_late:
            raise type(self._trouble)(*self._trouble.args) from self._trouble

    # -- beats ----------------------------------------------------------------------------------------------------

    async def _beat_on(self) -> None:
        while True:
            try:
                await self._beat()
                self._trouble = None
            except BrokerError as error:
                self._complain(error)
            except Exception as error:  # noqa: BLE001  (nobody else would notice that it beats no more)
                self._complain(_unforeseen(error))
            self._moved.set()
            await self._heart.pause()

    async def _beat(self) -> None:
        topics, silent_s = self._topics, self._heart.silent_s
        epochs = {tp: one.epoch for tp, one in self._held.items()}
        claims = self._telling is None and not self._is_leaving
        found = await self._heart.beat(topics, epochs, claims=claims)
        self._report(found, silent_s)
        self._take_in(found, topics)

    def _complain(self, error: BrokerError) -> None:
        if self._trouble is None:
            log.warning("a heartbeat could not be written; it is tried again", group=self.group, reason=str(error))
        self._trouble = error

    def _report(self, found: groups.Round, silent_s: float) -> None:
        standing, about = found.standing, {"group": self.group}
        if standing.returned and self._held:
            away_s = round(silent_s, 1)
            log.warning("others took over, for want of heartbeats; joining again", **about, away_s=away_s)
        if standing.gone:
            log.info("members of the group are gone", **about, members=len(standing.gone))
        if standing.forced:
            count = len(standing.forced)
            log.warning("partitions were not given up in time, and are taken", **about, partitions=count)

    # -- telling --------------------------------------------------------------------------------------------------

    def _take_in(self, found: groups.Round, topics: tuple[str, ...]) -> None:
        if self._telling is not None or self._is_leaving:
            return
        giving = [tp for tp in found.standing.giving if tp in self._held]
        if giving:
            self._tell(self._give(giving))
        elif found.gained:
            self._held.update(found.gained)
            self._tell(self._gain(found.gained))
        else:
            self._is_settled = found.standing.settled and topics == self._topics

    def _tell(self, work: Coroutine[Any, Any, None]) -> None:
        self._is_settled = False
        self._telling = asyncio.create_task(self._told(work), name=f"rebalance of {self.group}")

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as failure:  # noqa: BLE001  (it is raised to who joined or polls)
            self._failure = failure
            await self._quit()
        finally:
            self._telling = None
            self.urge()

    async def _give(self, tps: Sequence[int]) -> None:
        partitions = [self._held[tp].partition for tp in tps]
        self.member.stop(partitions)
        await self._rebalance.revoked(partitions)
        self.member.lose(partitions)
        for tp in tps:
            del self._held[tp]

    async def _gain(self, gained: Mapping[int, Assigned]) -> None:
        self.member.gain({one.partition: tp for tp, one in gained.items()})
        await self._rebalance.assigned(list(gained.values()))

    async def _until_settled(self) -> None:
        while not self._is_settled:
            if self._failure is not None:
                raise self._failure
            if self._trouble is not None:
                raise self._trouble
            if self._is_leaving:
                raise BrokerUnavailable(f"group {self.group!r} was left, or its log closed, while joining it")
            self._moved.clear()
            await self._moved.wait()

    async def _quit(self) -> None:
        """Be out. Doing it twice does nothing."""
        if self._is_out:
            return
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self._heart.stop()
        self._is_out = True
        self._ended()
        self._moved.set()


def _unforeseen(error: Exception) -> BrokerError:
    trouble = BrokerError(f"a heartbeat failed unexpectedly: {error!r}; it is tried again")
    trouble.__cause__ = error
    log.error("a heartbeat failed unexpectedly", exc_info=error)
    return trouble
