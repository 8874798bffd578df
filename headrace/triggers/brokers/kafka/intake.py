"""Fetching for a member: from where, of which partitions, and a fair share of each.

Pausing is ours alone: aiokafka's drops what it has fetched. What is paused keeps its buffer there (a megabyte at most)
and is at hand again at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import TopicPartition, errors

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Bounds, Fetched, Partition
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.records import records_of

_MOST_BYTES = 16 << 20  # of one take; compressed, sixty times as much may lie in a buffer
_UNSEEN_BYTES = 1 << 20  # what a record of a partition is taken to have before one is seen
_BUSY_MS = 100
_IDLE_MS = 1000
_BUSY_FOR_S = 2.0
_LOOK_AGAIN_S = 0.25

log = structlog.get_logger("headrace")


class Truncated(Exception):
    """The log ends before a position that was reached in it: it was cut, or its topic made anew."""


class Intake:
    """What a member fetches. `consumer` is the member's, changed when it is made anew."""

    def __init__(self, group: str, cluster: Cluster) -> None:
        self.consumer: Any = None
        self.bell = asyncio.Event()
        self._group = group
        self._cluster = cluster
        self._starts: dict[Partition, int] = {}
        self._offsets: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._sought: dict[Partition, int] = {}  # and nothing has come from there yet
        self._beyond: dict[Partition, float] = {}  # sought past the end; when to look again
        self._sizes: dict[Partition, int] = {}  # of one record, as last seen
        self._turn = 0
        self._busy_until = 0.0
        self._arrival: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Intake of {self._group}: {len(self._offsets)} partitions, {len(self._paused)} paused>"

    def begin(self, bounds: dict[Partition, Bounds]) -> None:
        """These partitions are assigned; nothing is fetched before it is sought."""
        self._starts = {partition: one.start for partition, one in bounds.items()}

    def stop(self) -> None:
        """Nothing is assigned any more."""
        for each in (self._starts, self._offsets, self._paused, self._sought, self._beyond, self._sizes):
            each.clear()
        self.bell.set()

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch from there on."""
        offset = max(offset, self._starts[partition])
        self._offsets[partition] = self._sought[partition] = offset
        self._beyond.pop(partition, None)
        self._apply(partition, offset)
        self.bell.set()

    def pause(self, partitions: Iterable[Partition], *, paused: bool) -> None:
        """Stop or go on handing out."""
        if paused:
            self._paused.update(partitions)
        else:
            self._paused.difference_update(partitions)
            self.bell.set()

    async def take(self, limit: int) -> list[Fetched]:
        """What has been fetched, `limit` records at most, shared among the partitions that have something.

        Raises `Truncated`, or what aiokafka raises.
        """
        inside.touch(self.consumer)
        await self._look_beyond()
        found: list[Fetched] = []
        ready = self._ready()
        room = _MOST_BYTES
        while ready and limit > 0 and room > 0:
            again = []
            for waiting, partition in zip(range(len(ready), 0, -1), ready, strict=True):
                share = min(-(-limit // waiting), max(1, room // self._sizes.get(partition, _UNSEEN_BYTES)))
                if limit <= 0 or room <= 0:
                    break
                fetched = await self._take(partition, share)
                if fetched is not None:
                    found.append(fetched)
                    limit -= len(fetched.records)
                    room -= self._measure(fetched)
                    if len(fetched.records) == share:
                        again.append(partition)
            ready = again
        self._pace(any(one.records for one in found))
        return _joined(found)

    async def wait(self, seconds: float) -> None:
        """Wait until something is fetched, sought or resumed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _LOOK_AGAIN_S) if self._beyond else seconds):
                await self.bell.wait()

    def listen(self) -> None:
        """From here on, what arrives rings the bell."""
        self.bell.clear()
        if self._arrival is None or self._arrival.done():
            self._arrival = inside.arrival(self.consumer)
            self._arrival.add_done_callback(self._arrived)

    def _arrived(self, arrival: asyncio.Future[None]) -> None:
        if not arrival.cancelled():
            arrival.exception()  # what the group refuses is raised by the next poll too
        self.bell.set()

    def _apply(self, partition: Partition, offset: int) -> None:
        where = TopicPartition(*partition)
        if where in self.consumer.assignment():  # else the group is changing, and it is sought again afterwards
            self.consumer.seek(where, offset)
            self.consumer.resume(where)

    def _again(self, partition: Partition) -> None:
        """Fetch again from where it is, if it is still ours."""
        if (offset := self._offsets.get(partition)) is not None:
            self._apply(partition, offset)

    def _ready(self) -> list[Partition]:
        ready = [
            (tp.topic, tp.partition)
            for tp in inside.buffered(self.consumer)
            if (tp.topic, tp.partition) in self._offsets and (tp.topic, tp.partition) not in self._paused
        ]
        # Another one goes first each time: what does not divide evenly, and a limit below their number, goes round.
        self._turn += 1
        turn = self._turn % len(ready) if ready else 0
        return ready[turn:] + ready[:turn]

    async def _take(self, partition: Partition, limit: int) -> Fetched | None:
        where = TopicPartition(*partition)
        if (before := self._offsets.get(partition)) is None:
            return None  # a rebalance has stopped it while another was taken
        try:
            found = await self.consumer.getmany(where, timeout_ms=0, max_records=limit)
            after = await self.consumer.position(where)
        except errors.OffsetOutOfRangeError:
            await self._out_of_range(partition, before)
            return None
        except UnicodeDecodeError as error:
            self._again(partition)
            raise BrokerError(
                f"partition {partition[1]} of {partition[0]!r} has a record that cannot be read, at offset {before} or "
                f"up to {limit} behind: the name of one of its headers is not UTF-8, as Kafka's protocol demands. Move "
                f"the group {self._group!r} past it, and have its producer mended"
            ) from error
        except BaseException as error:
            # It may have dropped what it had decoded before it failed.
            self._again(partition)
            if isinstance(error, errors.IllegalStateError) and self._offsets.get(partition) != before:
                return None
            raise
        if self._offsets.get(partition) != before:  # a rebalance has stopped it meanwhile, and perhaps it was sought
            self._again(partition)
            return None
        if after == before:
            return None
        self._offsets[partition] = after
        self._sought.pop(partition, None)
        return Fetched(partition, records_of(found.get(where, ())), after)

    def _measure(self, fetched: Fetched) -> int:
        """The bytes in it; what one record of this partition has is remembered."""
        if not fetched.records:
            return 0
        size = sum([len(one.value) for one in fetched.records if one.value is not None])
        self._sizes[fetched.partition] = size // len(fetched.records) + 1
        return size

    async def _out_of_range(self, partition: Partition, offset: int) -> None:
        bounds = await self._bounds(partition)
        topic, number = partition
        if self._offsets.get(partition) != offset:
            return  # sought elsewhere, or given up, meanwhile
        if offset < bounds.start:
            about = {"group": self._group, "topic": topic, "partition": number}
            log.warning("records were deleted before they were read", **about, lost=bounds.start - offset)
            self._offsets[partition] = bounds.start
            self._apply(partition, bounds.start)
        elif offset > bounds.end and self._sought.get(partition) != offset:
            raise Truncated(f"partition {number} of {topic!r} ends at {bounds.end}, and had been read up to {offset}")
        elif offset > bounds.end:
            self.consumer.pause(TopicPartition(*partition))
            self._beyond[partition] = asyncio.get_running_loop().time() + _LOOK_AGAIN_S

    async def _look_beyond(self) -> None:
        now = asyncio.get_running_loop().time()
        for partition in [partition for partition, when in self._beyond.items() if when <= now]:
            bounds = await self._bounds(partition)
            if self._beyond.get(partition) is None:
                continue
            if bounds.end >= self._offsets[partition]:
                del self._beyond[partition]
                self._apply(partition, self._offsets[partition])
            else:
                self._beyond[partition] = now + _LOOK_AGAIN_S

    async def _bounds(self, partition: Partition) -> Bounds:
        doing = f"asking for the ends of partition {partition[1]} of {partition[0]!r}"
        found = await self._cluster.until_answered(doing, lambda: self._cluster.bounds([partition]))
        return found[partition]

    def _pace(self, busy: bool) -> None:
        now = asyncio.get_running_loop().time()
        if busy:
            self._busy_until = now + _BUSY_FOR_S
        short = self._paused or now < self._busy_until
        inside.set_patience(self.consumer, _BUSY_MS if short else _IDLE_MS)


def _joined(found: Collection[Fetched]) -> list[Fetched]:
    """One `Fetched` for each partition."""
    joined: dict[Partition, Fetched] = {}
    for one in found:
        if (before := joined.get(one.partition)) is not None:
            one = Fetched(one.partition, [*before.records, *one.records], one.next)  # noqa: PLW2901
        joined[one.partition] = one
    return list(joined.values())
