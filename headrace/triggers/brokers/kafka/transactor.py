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
from headrace.triggers.brokers.kafka.committer import NotOwner
from headrace.triggers.brokers.kafka.desk import Desk
from headrace.triggers.brokers.kafka.login import begin
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.producer import acknowledged
from headrace.triggers.brokers.kafka.putaway import Detached

_SPACING_S = 0.05
"""Between two transactions: the coordinator is busy with the markers of one before it takes the next of that id."""


class Transactor:
    """Settles `partition` for `group`. `open` it before the group's mark is read; then tell it that mark by `begin`."""

    def __init__(self, desk: Desk, group: str, partition: Partition) -> None:
        self.transactional_id = f"{group}/{partition[0]}/{partition[1]}"
        self._desk = desk
        self._group = group
        self.partition = partition
        self._producer: Any = None
        self._mark: Mark | None = None
        self._earliest = 0.0
        self._given_up = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._detached = Detached()

    def __repr__(self) -> str:
        state = "without a producer" if self._producer is None else f"at {self._mark and self._mark.watermark}"
        return f"<Transactor {self.transactional_id}, {state}>"

    async def open(self) -> None:
        """Fence all others with this id, and end what they left open. Raises `BrokerError`."""
        async with self._desk.calls.bounded(f"beginning transactions as {self.transactional_id!r}"):
            producer = AIOKafkaProducer(**self._desk.settings.producer(), transactional_id=self.transactional_id)
            try:
                await begin(producer.start, producer.client, self._desk.settings)
            except BaseException:
                self._put_away(producer)
                raise
            self._producer = producer
            if self._given_up:  # meanwhile
                self._let_go()

    def begin(self, mark: Mark | None) -> None:
        """The mark as it was read after `open`."""
        self._mark = mark

    async def settle(self, mark: Mark, appends: Sequence[tuple[Append, Partition]]) -> None:
        """Write the appends, each to its place, and the mark: all or nothing, and once however often it is asked.

        Raises `NotOwner` if somebody else has settled meanwhile or it was given up, else `BrokerError`.
        """
        self._idle.clear()
        try:
            await self._settle(mark, appends)
        finally:
            self._idle.set()
            if self._given_up:
                self._let_go()

    def give_up(self) -> None:
        """Settle nothing more, and let go of the producer, aside: once a settlement under way has come to its end.

        An open transaction is aborted then, if that can be done soon.
        """
        self._given_up = True
        if self._idle.is_set():
            self._let_go()

    async def ended(self) -> None:
        """Wait until what was given up has ended."""
        await self._idle.wait()
        await self._detached.close()

    async def _settle(self, mark: Mark, appends: Sequence[tuple[Append, Partition]]) -> None:
        if mark == self._mark or (self._producer is None and not self._given_up and await self._is_written(mark)):
            return
        await asyncio.sleep(max(0.0, self._earliest - asyncio.get_running_loop().time()))
        if self._given_up:
            raise NotOwner
        producer = self._producer
        try:
            async with self._desk.calls.bounded(f"settling as {self.transactional_id!r}"):
                ends = await self._transact(producer, mark, appends)
        except BaseException:
            self._let_go()  # whether it is written will be looked up
            raise
        self._mark = mark
        self._desk.afterglow.committed(self._group, self.partition, mark, ends)
        self._earliest = asyncio.get_running_loop().time() + _SPACING_S

    async def _is_written(self, mark: Mark) -> bool:
        """After a failure: whether that mark had been written all the same. Raises `NotOwner` if another was."""
        await self.open()
        ask = partial(self._desk.cluster.marks, self._group, [self.partition])
        try:
            found = (await self._desk.cluster.until_answered(f"asking for the offset of {self._group!r}", ask)).get(
                self.partition
            )
        except BaseException:
            self._let_go()
            raise
        if found == mark:
            self._mark = mark
            return True
        if found != self._mark:
            raise NotOwner
        return False

    async def _transact(
        self, producer: Any, mark: Mark, appends: Sequence[tuple[Append, Partition]]
    ) -> dict[Partition, int]:
        """The offsets behind what was written, for each partition."""
        await producer.begin_transaction()
        queues: dict[Partition, deque[Append]] = {}
        for append, place in appends:
            queues.setdefault(place, deque()).append(append)
        writing = (self._write(producer, place, queue) for place, queue in queues.items())
        ends: dict[Partition, int] = {}
        for place, end in zip(queues, await asyncio.gather(*writing, return_exceptions=True), strict=True):
            if isinstance(end, BaseException):
                raise end
            ends[place] = end
        offset = OffsetAndMetadata(mark.watermark, mark.metadata)
        await producer.send_offsets_to_transaction({TopicPartition(*self.partition): offset}, self._group)
        await producer.commit_transaction()
        return ends

    async def _write(self, producer: Any, place: Partition, queue: deque[Append]) -> int:
        topic, number = place
        end = 0
        while queue:
            batch = producer.create_batch()
            _fill(batch, queue)
            written = await acknowledged(await producer.send_batch(batch, topic, partition=number))
            end = written.offset + batch.record_count()
        return end

    def _let_go(self) -> None:
        if self._producer is not None:
            self._put_away(self._producer)
            self._producer = None

    def _put_away(self, producer: Any) -> None:
        self._detached.put_away(partial(_end, producer), lambda: inside.kill_producer(producer))


async def _end(producer: Any) -> None:
    """Stop a producer; records of a transaction that is left open would hide all that comes after them."""
    try:
        if inside.is_in_transaction(producer):
            await producer.abort_transaction()
    finally:
        inside.forget_transaction(producer)
    await producer.stop()  # not after a failure, nor when told to end: it would wait for what cannot be written


def _fill(batch: Any, queue: deque[Append]) -> None:
    """Move from the queue to the batch what fits; it takes one record at least."""
    while queue:
        append = queue[0]
        headers = unpack(append.headers)
        if batch.append(timestamp=append.timestamp, key=append.key, value=append.value, headers=headers) is None:
            return
        queue.popleft()
