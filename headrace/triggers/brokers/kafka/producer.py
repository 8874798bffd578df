"""A producer that is made at its first use, and made anew after a failure.

A batch that failed leaves a hole in the sequence numbers of an idempotent producer: Kafka would refuse all that it
sends to that partition later. So no producer is used on after a failure.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.protocol.transaction import InitProducerIdRequest

from headrace.runtime.ports import Partition
from headrace.triggers.brokers.kafka import inside
from headrace.triggers.brokers.kafka.failure import raise_for
from headrace.triggers.brokers.kafka.login import begin
from headrace.triggers.brokers.kafka.putaway import Detached
from headrace.triggers.brokers.kafka.settings import KafkaSettings

_NO_ID: Any = None  # the protocol's word for no transactions; aiokafka's type leaves it out
_ID_MS = 60_000  # asked for, and meaningless without transactions


class Producer:
    """Sends batches. Its calls raise aiokafka's errors, and are to be bounded by the caller."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._current: Any = None
        self._opening = asyncio.Lock()
        self._detached = Detached()

    def __repr__(self) -> str:
        return f"<Producer: {'not ' if self._current is None else ''}connected>"

    async def batch(self) -> Any:
        """A new empty batch."""
        return (await self._producer()).create_batch()

    async def send(self, batch: Any, place: Partition) -> int:
        """Send a batch; the offset of its first record, -1 if the broker could not tell, once it is acknowledged."""
        producer = await self._producer()
        try:
            topic, number = place
            if number not in await producer.partitions_for(topic):  # it has grown since this producer looked
                await producer.client.force_metadata_update()
            written = await acknowledged(await producer.send_batch(batch, topic, partition=number))
        except BaseException:
            self._discard(producer)
            raise
        return int(written.offset)

    async def close(self) -> None:
        """Let go of it."""
        if self._current is not None:
            self._discard(self._current)
        await self._detached.close()

    async def _producer(self) -> Any:
        async with self._opening:
            if self._current is None:
                producer = AIOKafkaProducer(**self._settings.producer())
                try:
                    await begin(lambda: _start(producer), producer.client, self._settings)
                except BaseException:
                    self._put_away(producer)
                    raise
                self._current = producer
            return self._current

    def _discard(self, producer: Any) -> None:
        """Use it no more. What it still has under way for other partitions may come to its end."""
        if self._current is producer:
            self._current = None
            self._put_away(producer)

    def _put_away(self, producer: Any) -> None:
        self._detached.put_away(producer.stop, lambda: inside.kill_producer(producer))


async def acknowledged(delivery: asyncio.Future[Any]) -> Any:
    """What became of a batch that was sent. Whoever stops waiting leaves nothing behind.

    aiokafka shields the batch's own future, and a shield that is cancelled does not look at it any more: asyncio would
    report its failure as one that nobody took.
    """
    delivery.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait({delivery})
    return delivery.result()


async def _start(producer: Any) -> None:
    """Start it, unless it may not write anything: aiokafka would ask for its id again and again."""
    await producer.client.bootstrap()
    if (node := producer.client.get_random_node()) is not None:
        code = (await producer.client.send(node, InitProducerIdRequest(_NO_ID, _ID_MS))).error_code
        if code == errors.ClusterAuthorizationFailedError.errno:
            raise_for(code, "cluster")
    await producer.start()
