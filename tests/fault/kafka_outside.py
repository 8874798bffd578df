"""What others do on the cluster: a plain aiokafka client, in a thread with a loop of its own, for tests that block."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fault.kafka_watch import PATIENCE_S, Seen, Watch, wait_for

T = TypeVar("T")
Pair = tuple[str | None, Any]


class Outside:
    """Makes topics, writes to them and reads them. All methods block."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside", daemon=True)
        self._producer: Any = None
        self._watches: list[Watch] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Awaitable[T]) -> T:
        """Have that done on the loop, and wait for it."""

        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE_S):
                return await work

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    def make(self, *names: str, partitions: int = 1, **configs: str) -> None:
        """Topics, which lead; settings are written with '_' for '.'."""
        settings = {name.replace("_", "."): value for name, value in configs.items()}
        new = {name: NewTopic(name, partitions, 1, topic_configs=settings) for name in names}

        async def make(client: Any) -> bool:
            """Whether they are there. A broker that has just come back refuses to make any, and aiokafka is silent."""
            missing = new.keys() - set(await client.list_topics())
            if missing:
                await client.create_topics([new[name] for name in missing])
            return not missing

        wait_for(lambda: self.admin(make), "the topics to be made")

    def delete(self, *names: str) -> None:
        """Delete topics; returns when they are gone."""
        self.admin(lambda client: client.delete_topics(list(names)))
        wait_for(lambda: not set(names) & set(self.admin(lambda client: client.list_topics())), "the topics to be gone")

    def configure(self, topic: str, **configs: str) -> None:
        """Set what is set of a topic; all else goes to its default."""
        settings = {name.replace("_", "."): value for name, value in configs.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)
        self.admin(lambda client: client.alter_configs([resource]))

    def admin(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with an admin client."""

        async def done() -> T:
            client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:  # one that could not start must be closed, too
                await client.start()
                return await work(client)
            finally:
                await client.close()

        return self.call(done())

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The group's offsets."""
        found = self.admin(lambda client: client.list_consumer_group_offsets(group))
        return {(where.topic, where.partition): mark.offset for where, mark in found.items() if mark.offset >= 0}

    def members(self, group: str) -> tuple[str, int]:
        """The group's state, and how many members it has."""
        ((answer,),) = [one.groups for one in self.admin(lambda client: client.describe_consumer_groups([group]))]
        return answer[2], len(answer[5])

    def emit(self, topic: str, pairs: Iterable[Pair]) -> None:
        """Write events: key and data, or bytes as they are. Returns when all are acknowledged."""
        self.call(self._emit(topic, list(pairs)))

    def transact(self, transactional_id: str, topic: str, pairs: Iterable[Pair], *, commit: bool) -> None:
        """Write events in a transaction, which is committed or aborted."""
        self.call(self._transact(transactional_id, topic, list(pairs), commit=commit))

    def watch(self, *topics: str) -> Watch:
        """Follow topics from their beginning, as a reader of committed records."""
        watch = Watch(set(topics))
        self._watches.append(watch)
        self.call(self._begin(watch, topics))
        return watch

    async def _begin(self, watch: Watch, topics: Iterable[str]) -> None:
        watch.task = asyncio.get_running_loop().create_task(self._follow(watch, topics))

    async def _emit(self, topic: str, pairs: list[Pair]) -> None:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, enable_idempotence=True, max_request_size=2 << 20
            )
            await producer.start()
            self._producer = producer
        sent = [await self._producer.send(topic, _encoded(data), key=_key(key)) for key, data in pairs]
        await asyncio.gather(*sent)

    async def _transact(self, transactional_id: str, topic: str, pairs: list[Pair], *, commit: bool) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=transactional_id)
        try:
            await producer.start()
            await producer.begin_transaction()
            for key, data in pairs:
                await producer.send_and_wait(topic, _encoded(data), key=_key(key))
            await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()

    async def _follow(self, watch: Watch, topics: Iterable[str]) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            metadata_max_age_ms=2000,
        )
        try:
            await consumer.start()
            metadata = await consumer._client.fetch_all_metadata()
            places = [TopicPartition(topic, n) for topic in topics for n in metadata.partitions_for_topic(topic)]
            consumer.assign(places)
            while True:
                with suppress(errors.KafkaError):
                    found = await consumer.getmany(timeout_ms=200)
                    watch.add([Seen.of(record) for records in found.values() for record in records])
        finally:
            await consumer.stop()

    async def _close(self) -> None:
        for watch in self._watches:
            watch.task.cancel()
        await asyncio.gather(*(watch.task for watch in self._watches), return_exceptions=True)
        if self._producer is not None:
            await self._producer.stop()


def _key(key: str | None) -> bytes | None:
    return None if key is None else key.encode()


def _encoded(data: Any) -> bytes | None:
    return data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
