"""A member's link to its group: one aiokafka consumer, made anew when it has died or hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, errors

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import Partition
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.login import begin
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.putaway import Detached
from headrace.triggers.brokers.kafka.settings import KafkaSettings

_SILENCES = 3  # sessions without a heartbeat before a consumer is held to hang

log = structlog.get_logger("headrace")


class Link:
    """Holds the `consumer` of a member. `listener` is told of rebalances by each one that is made."""

    def __init__(self, group: str, settings: KafkaSettings, calls: Calls, listener: Any) -> None:
        self.consumer: Any = None
        self._group = group
        self._settings = settings
        self._calls = calls
        self._listener = listener
        self._beat: Callable[[], Any] | None = None
        self._last_beat = time.monotonic()
        self._detached = Detached()

    def __repr__(self) -> str:
        return f"<Link to {self._group}: last heard of {self.silent_s:.1f} s ago>"

    async def open(self, topics: Sequence[str]) -> None:
        """A new consumer, which begins to join. Raises `BrokerUnavailable` or another `BrokerError`."""
        consumer = AIOKafkaConsumer(
            **self._settings.consumer(),
            group_id=self._group,
            partition_assignment_strategy=(inside.assignor(),),
            max_partition_fetch_bytes=inside.FETCH_BYTES,
        )
        try:
            async with self._calls.bounded(f"joining group {self._group!r}"):
                await begin(consumer.start, consumer, self._settings)
        except BaseException:
            self._end(consumer)
            raise
        self.consumer = consumer
        inside.end_heartbeats_well(consumer)
        self._beat = inside.note_beats(consumer, self.heard)
        self.heard(time.monotonic())
        self.subscribe(topics)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Follow these topics; a rebalance begins."""
        self.consumer.subscribe(topics, listener=self._listener)

    def heard(self, at: float) -> None:
        """The group took us for a member at that time of `time.monotonic()`."""
        self._last_beat = at

    @property
    def silent_s(self) -> float:
        """Seconds since the group last took us for a member."""
        return time.monotonic() - self._last_beat

    def check(self) -> None:
        """Raise `BrokerUnavailable` if the group has been silent for longer than a heartbeat can take."""
        if self.silent_s > 2 * self._settings.heartbeat_s + self._settings.timeout_s:
            raise BrokerUnavailable(
                f"the coordinator of group {self._group!r} at {self._calls.where} has not answered for "
                f"{self.silent_s:.0f} s; it is asked again and again"
            )

    @property
    def is_lost(self) -> bool:
        """Whether the consumer has died, or seems to hang."""
        return inside.is_dead(self.consumer) or self.silent_s > _SILENCES * self._settings.session_timeout_s

    async def confirm(self) -> bool:
        """Whether the group still takes us for a member, asked anew if it has been silent for a session.

        Raises `BrokerUnavailable` if nobody answers.
        """
        if self.silent_s < self._settings.session_timeout_s:
            return True
        async with self._calls.bounded(f"asking whether this is still a member of group {self._group!r}"):
            assert self._beat is not None
            if await self._beat():
                return True
            if inside.membership(self.consumer)[0] < 0:
                return False
        raise BrokerUnavailable(f"the coordinator of group {self._group!r} cannot be asked who its members are")

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Meanwhile the group is told that this member lives: aiokafka is silent until partitions are taken over.

        Else a session would end in a takeover that takes longer, and each return begin the same takeover anew.
        """
        beats = asyncio.create_task(self._keep_beating(), name=f"heartbeats of {self._group}")
        try:
            yield
        finally:
            beats.cancel()
            await asyncio.wait({beats})

    async def _keep_beating(self) -> None:
        assert self._beat is not None
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            with suppress(errors.KafkaError):  # aiokafka's own heartbeats, soon to go on, tell of it
                await self._beat()

    async def commit(self, membership: tuple[int, str], marks: Mapping[Partition, Mark]) -> Mapping[Partition, Any]:
        """See `inside.commit`."""
        return await inside.commit(self.consumer, membership, marks)

    def rejoin(self) -> None:
        """Ask the group for a new assignment."""
        inside.rejoin(self.consumer)

    def put_away(self) -> None:
        """End the consumer, aside; it leaves the group, unless it is a static member."""
        if self.consumer is not None:
            self._end(self.consumer)

    async def ended(self) -> None:
        """Wait until what was put away has ended."""
        await self._detached.close()

    def _end(self, consumer: Any) -> None:
        self._detached.put_away(consumer.stop, lambda: inside.kill_consumer(consumer))


class Revival:
    """Making a link anew. `trouble` is why that did not work the last time, until it is taken."""

    def __init__(self, group: str) -> None:
        self.trouble: BrokerError | None = None
        self._group = group
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Revival of {self._group}: {'under way' if self.is_under_way else 'none under way'}>"

    @property
    def is_under_way(self) -> bool:
        """Whether one is."""
        return self._task is not None

    def begin(self, revive: Callable[[], Any]) -> None:
        """Begin one, unless one is under way."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(revive), name=f"return to {self._group}")

    def check(self) -> None:
        """Raise the trouble, once."""
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble

    def cancel(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, revive: Callable[[], Any]) -> None:
        try:
            await revive()
            log.warning("the Kafka consumer had died or hung; there is a new one", group=self._group)
        except BrokerError as error:
            self.trouble = error
        finally:
            self._task = None
