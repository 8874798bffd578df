"""The transactor: settles one partition of one group in transactions of its own transactional id.

What makes it exact: a producer with that id fences every earlier one (InitProducerId), and only then is the group's
mark read. So a transaction is always made on top of the mark that was read, by whoever has the id last; one whose
result nobody learned is looked up in the mark. Group membership decides who *tries*, not who is right.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from headrace.runtime.ports import Append, Partition
from headrace.sandbox.headers import unpack
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.committer import NotOwner
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.putaway import Detached
from headrace.triggers.brokers.kafka.settings import KafkaSettings

_SPACING_S = 0.05
"""Between two transactions: the coordinator is busy with the markers of one before it takes the next of that id."""


class Transactor:
    """Settles `partition` for `group`. `open` it before the group's mark is read; then tell it that mark by `begin`."""

    def __init__(
        self, settings: KafkaSettings, calls: Calls, cluster: Cluster, group: str, partition: Partition
    ) -> None:
        self.transactional_id = f"{group}/{partition[0]}/{partition[1]}"
        self._settings = settings
        self._calls = calls
        self._cluster = cluster
        self._group = group
        self._partition = partition
        self._producer: Any = None
        self._mark: Mark | None = None
        self._earliest = 0.0
        self._detached = Detached()

    def __repr__(self) -> str:
        state = "without a producer" if self._producer is None else f"at {self._mark and self._mark.watermark}"
        return f"<Transactor {self.transactional_id}, {state}>"

    async def open(self) -> None:
        """Fence all others with this id, and end what they left open. Raises `BrokerError`."""
        async with self._calls.bounded(f"beginning transactions as {self.transactional_id!r}"):
            producer = AIOKafkaProducer(**self._settings.producer(), transactional_id=self.transactional_id)
            try:
                await producer.start()
            except BaseException:
                self._put_away(producer)
                raise
            self._producer = producer

    def begin(self, mark: Mark | None) -> None:
        """The mark as it was read after `open`."""
        self._mark = mark

    async def settle(self, mark: Mark, appends: Sequence[tuple[Append, Partition]]) -> None:
        """Write the appends, each to its place, and the mark: all or nothing, and once however often it is asked.

        Raises `NotOwner` if somebody else has settled meanwhile, else `BrokerError`.
        """
        if self._producer is None and await self._is_written(mark):
            return
        await asyncio.sleep(max(0.0, self._earliest - asyncio.get_running_loop().time()))
        producer = self._producer
        try:
            async with self._calls.bounded(f"settling as {self.transactional_id!r}"):
                await self._transact(producer, mark, appends)
        except BaseException:
            self._producer = None  # whether it is written will be looked up
            self._put_away(producer)
            raise
        self._mark = mark
        self._earliest = asyncio.get_running_loop().time() + _SPACING_S

    async def close(self) -> None:
        """Give the id up. An open transaction is aborted, if that can be done soon."""
        if self._producer is not None:
            self._put_away(self._producer)
            self._producer = None
        await self._detached.close()

    async def _is_written(self, mark: Mark) -> bool:
        """After a failure: whether that mark had been written all the same. Raises `NotOwner` if another was."""
        await self.open()
        ask = partial(self._cluster.marks, self._group, [self._partition])
        try:
            found = (await self._cluster.until_answered(f"asking for the offset of {self._group!r}", ask)).get(
                self._partition
            )
        except BaseException:
            self._put_away(self._producer)
            self._producer = None
            raise
        if found == mark:
            self._mark = mark
            return True
        if found != self._mark:
            raise NotOwner
        return False

    async def _transact(self, producer: Any, mark: Mark, appends: Sequence[tuple[Append, Partition]]) -> None:
        await producer.begin_transaction()
        queues: dict[Partition, deque[Append]] = {}
        for append, place in appends:
            queues.setdefault(place, deque()).append(append)
        writing = (self._write(producer, place, queue) for place, queue in queues.items())
        for failure in await asyncio.gather(*writing, return_exceptions=True):
            if failure is not None:
                raise failure
        offset = OffsetAndMetadata(mark.watermark, mark.metadata)
        await producer.send_offsets_to_transaction({TopicPartition(*self._partition): offset}, self._group)
        await producer.commit_transaction()

    async def _write(self, producer: Any, place: Partition, queue: deque[Append]) -> None:
        topic, number = place
        while queue:
            batch = producer.create_batch()
            _fill(batch, queue)
            await (await producer.send_batch(batch, topic, partition=number))

    def _put_away(self, producer: Any) -> None:
        self._detached.put_away(partial(_end, producer), lambda: inside.kill_producer(producer))


async def _end(producer: Any) -> None:
    """Stop a producer; records of a transaction that is left open would hide all that comes after them."""
    try:
        if inside.is_in_transaction(producer):
            await producer.abort_transaction()
    finally:
        inside.forget_transaction(producer)
        await producer.stop()


def _fill(batch: Any, queue: deque[Append]) -> None:
    """Move from the queue to the batch what fits; it takes one record at least."""
    while queue:
        append = queue[0]
        headers = unpack(append.headers)
        if batch.append(timestamp=append.timestamp, key=append.key, value=append.value, headers=headers) is None:
            return
        queue.popleft()
