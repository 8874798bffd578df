"""Reading without a group: each read is one fetch, or what an earlier fetch brought and was not asked for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from aiokafka import errors

from headrace.runtime.ports import Fetched, Partition, Record
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.cluster import LATEST, Cluster
from headrace.triggers.brokers.kafka.records import records_of
from headrace.triggers.brokers.kafka.topics import Topics

_KEPT = 64  # partitions with a rest, a megabyte each at most
_LOOK_S = 0.1


class Reader:
    """Implements `ports.Reader` for a store."""

    def __init__(self, calls: Calls, cluster: Cluster, topics: Topics) -> None:
        self._calls = calls
        self._cluster = cluster
        self._topics = topics
        self._rests: OrderedDict[Partition, _Rest] = OrderedDict()
        self._ends: dict[Partition, int] = {}
        self._watches: WeakKeyDictionary[asyncio.Task[object], _Watch] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<Reader: the rest of a fetch of {len(self._rests)} partitions kept>"

    async def read(self, partition: Partition, offset: int, limit: int) -> Fetched:
        """See `ports.Reader.read`."""
        self._calls.check()
        await self._topics.require_partition(partition)
        offset = max(0, offset)
        watch = self._watch()
        watch.rung = False
        rest = self._rests.pop(partition, None)
        if rest is None or rest.next != offset or rest.is_used_up:
            rest = await self._fetched(partition, offset)
        while not (records := rest.take(limit)) and rest.next < rest.end:  # nothing but markers so far
            rest = await self._fetched(partition, rest.next)
        watch.ends[partition] = self._ends[partition] = rest.end
        if not rest.is_used_up:
            self._keep(partition, rest)
        return Fetched(partition, records, rest.next)

    async def changed(self, timeout: float) -> None:
        """See `ports.Reader.changed`: looks at what the calling task has read, and hears of this store's appends."""
        watch = self._watch()
        if not watch.ends:  # a task that has read nothing looks at what others have
            watch.ends = dict(self._ends)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        async with self._calls.bounded("waiting for a change", timeout + self._calls.timeout_s):
            while not watch.rung and not await self._moved(watch):
                if (left := until - loop.time()) <= 0:
                    break
                await watch.wait(min(left, _LOOK_S) if watch.ends else left)
        watch.rung = False

    async def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """See `ports.Reader.offset_at`. The time of a record is its timestamp."""
        self._calls.check()
        await self._topics.require_partition(partition)
        doing = f"looking for a time in partition {partition[1]} of {partition[0]!r}"

        async def ask(at: int) -> int:
            found = await self._cluster.until_answered(doing, lambda: self._cluster.offsets({partition: at}))
            return found[partition]

        found = await ask(max(0, timestamp_ms))
        return await ask(LATEST) if found < 0 else found

    def appended(self) -> None:
        """This store appended something."""
        for watch in self._watches.values():
            watch.ring()

    async def _moved(self, watch: _Watch) -> bool:
        if not watch.ends:
            return False
        ask = dict.fromkeys(watch.ends, LATEST)
        ends = await self._cluster.until_answered("looking for new records", lambda: self._cluster.offsets(ask))
        moved = any(ends[partition] > end for partition, end in watch.ends.items())
        watch.ends.update(ends)
        self._ends.update(ends)
        return moved

    async def _fetched(self, partition: Partition, offset: int) -> _Rest:
        doing = f"reading partition {partition[1]} of {partition[0]!r}"
        return await self._cluster.until_answered(doing, lambda: self._fetch(partition, offset))

    async def _fetch(self, partition: Partition, offset: int) -> _Rest:
        ((node, _),) = (await self._cluster.leaders([partition])).items()
        try:
            answer = await self._cluster.send(inside.fetch_request(partition, offset), node)
            records, end = inside.fetched_records(answer, partition, offset)
        except errors.OffsetOutOfRangeError:
            bounds = (await self._cluster.bounds([partition]))[partition]
            if offset >= bounds.start:
                return _Rest(iter(()), max(offset, bounds.end), offset)
            return await self._fetch(partition, bounds.start)
        except errors.KafkaError as error:
            if error.invalid_metadata:
                await self._cluster.metadata()
            raise
        return _Rest(records, end, offset)

    def _keep(self, partition: Partition, rest: _Rest) -> None:
        self._rests[partition] = rest
        if len(self._rests) > _KEPT:
            self._rests.popitem(last=False)

    def _watch(self) -> _Watch:
        task = asyncio.current_task()
        assert task is not None
        return self._watches.setdefault(task, _Watch())


class _Rest:
    """Records of one fetch that were not handed out yet; `end` is the last stable offset as it was then."""

    def __init__(self, found: Any, end: int, offset: int) -> None:
        self._found = found
        self.next = offset
        self.end = end
        self.is_used_up = False

    def take(self, limit: int) -> list[Record]:
        """The next records, `limit` at most; `next` is the offset to go on from then."""
        if self.is_used_up:
            return []
        records = records_of(islice(self._found, limit))
        self.is_used_up = len(records) < limit
        self.next = int(getattr(self._found, "next_fetch_offset", self.next))
        return records


class _Watch:
    """What one task has read up to, and whether this store appended since."""

    def __init__(self) -> None:
        self.ends: dict[Partition, int] = {}
        self.rung = False
        self._bell = asyncio.Event()

    def ring(self) -> None:
        self.rung = True
        self._bell.set()

    async def wait(self, seconds: float) -> None:
        self._bell.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass
