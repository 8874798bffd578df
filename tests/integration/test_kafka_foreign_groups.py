"""A function's consumer group is one for other clients too, and what they left in it is no riddle to the function."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from foreign import librdkafka
from foreign.message import PATIENCE, Message
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker

FUNCTIONS = """
from headrace import Context, function

@function("ORDERS", emits="SEEN-relay")
def relay(data: bytes, ctx: Context) -> None:
    ctx.emit("SEEN-relay", data)

@function("ORDERS", emits="SEEN-exact", guarantee="effectively-once")
def exact(data: bytes, ctx: Context) -> None:
    ctx.emit("SEEN-exact", data)
"""
NAMES = ("relay", "exact")


@dataclass(frozen=True)
class Service:
    """Two functions, one of each guarantee, on a topic with one partition."""

    broker: Broker
    shell: Shell
    app: str
    orders: str

    def write(self, *numbers: int) -> None:
        messages = [Message(b"key", b"%d" % number) for number in numbers]
        librdkafka.produce(librdkafka.producer(self.broker.bootstrap), self.orders, messages)

    def run(self) -> list[int]:
        """Handle what there is; all that has been handled ever since, the same by both."""
        self.shell.run("run", "--broker", self.broker.url, "--app", self.app, "--until-idle")
        relayed, exact = (librdkafka.consume(self.broker.bootstrap, f"{self.app}-{name}") for name in NAMES)
        assert [one.value for one in relayed] == [one.value for one in exact]
        return [int(one.value or b"") for one in exact]

    def committed(self) -> tuple[list[int], list[str]]:
        """The offset of each function, as tools for groups see it, and the metadata beside it."""
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        offsets = []
        for group in (f"{self.app}.{name}" for name in NAMES):
            asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], require_stable=True)
            (one,) = asked[group].result(PATIENCE).topic_partitions
            assert (one.topic, one.partition, one.error) == (self.orders, 0, None)
            offsets.append(one.offset)
        return offsets, asyncio.run(self._metadata())

    async def _metadata(self) -> list[str]:
        # Not from confluent-kafka: it takes metadata for ended by a NUL, and reads on beyond it where there is none.
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        await admin.start()
        try:
            found = [await admin.list_consumer_group_offsets(f"{self.app}.{name}") for name in NAMES]
        finally:
            await admin.close()
        return [one.metadata for marks in found for one in marks.values()]

    def commit(self, offset: int, metadata: str) -> None:
        """As a tool that sets the groups' offsets does, while nobody is in them."""
        for name in NAMES:
            reader = librdkafka.consumer(self.broker.bootstrap, f"{self.app}.{name}")
            reader.commit(offsets=[TopicPartition(self.orders, 0, offset, metadata)], asynchronous=False)
            reader.close()

    def consume_one(self, name: str) -> bytes | None:
        """As another consumer of the group does: it joins, handles the next record, commits and leaves."""
        reader = librdkafka.consumer(self.broker.bootstrap, f"{self.app}.{name}")
        reader.subscribe([self.orders])
        one = reader.poll(PATIENCE)
        assert one is not None
        assert one.error() is None
        reader.commit(message=one, asynchronous=False)
        reader.close()
        return one.value()


@pytest.fixture
def service(kafka: Broker, tmp_path: Path) -> Service:
    one = Service(kafka, Shell(tmp_path), fresh("groups"), fresh("orders"))
    librdkafka.create(kafka.bootstrap, one.orders, *(f"{one.app}-{name}" for name in NAMES), partitions=1)
    one.shell.write("functions.py", FUNCTIONS.replace("ORDERS", one.orders).replace("SEEN", one.app))
    return one


def test_a_function_and_other_consumers_of_its_group_go_on_where_the_one_before_has_ended(service: Service) -> None:
    service.write(0, 1, 2, 3, 4)
    service.commit(2, "left by another tool")
    assert service.run() == [2, 3, 4]

    offsets, metadata = service.committed()
    assert offsets == [5, 5]
    assert all(text.startswith("hr1:") and text.isascii() and text.isprintable() for text in metadata)
    for lag in service.shell.json("lag", "--broker", service.broker.url, "--app", service.app):
        assert (lag["committed"], lag["end"], lag["lag"]) == (5, 5, 0)

    service.write(5, 6, 7)
    assert [service.consume_one(name) for name in NAMES] == [b"5", b"5"]
    assert service.committed() == ([6, 6], ["", ""])
    assert service.run() == [2, 3, 4, 6, 7]
    assert service.committed()[0] == [8, 8]


def test_an_offset_that_another_tool_sets_back_repeats_what_is_behind_it(service: Service) -> None:
    service.write(0, 1, 2)
    assert service.run() == [0, 1, 2]
    service.commit(1, "")
    assert service.run() == [0, 1, 2, 1, 2]
