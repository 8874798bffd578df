"""Topics of the benchmark: made, filled, counted and deleted with the bare client, not with headrace."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from _kafka_work import PARTITIONS, key, value
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


class Topics:
    """Makes topics of four partitions, and deletes them at the end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self._made: list[str] = []

    @classmethod
    @asynccontextmanager
    async def on(cls, bootstrap: str) -> AsyncIterator[Topics]:
        topics = cls(bootstrap)
        await topics._admin.start()
        try:
            yield topics
            await topics._delete()
        finally:
            await topics._admin.close()

    async def make(self, name: str) -> str:
        topic = fresh(name)
        await self._admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1)])
        self._made.append(topic)
        return topic

    async def fill(self, topic: str, events: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=20, max_batch_size=1 << 18)
        async with producer:
            for number in range(events):
                await producer.send(topic, value(number), key(number))

    async def size(self, topic: str) -> int:
        async with AIOKafkaConsumer(bootstrap_servers=self._bootstrap) as consumer:
            ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
            return sum(ends.values())

    async def _delete(self) -> None:
        """With what the runtimes of this benchmark made beside them: their dead-letter topics carry the group."""
        theirs = [topic for topic in await self._admin.list_topics() if topic.startswith("headrace-bench-")]
        await self._admin.delete_topics([*self._made, *theirs])
