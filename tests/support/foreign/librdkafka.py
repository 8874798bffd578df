"""librdkafka, by way of confluent-kafka. Settings are written with underscores for its dots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from foreign.message import PATIENCE, Message


def create(bootstrap: str, *topics: str, partitions: int = 3, **config: str) -> None:
    """Make topics; settings have underscores where Kafka has dots."""
    settings = {name.replace("_", "."): value for name, value in config.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(topic, partitions, 1, config=settings) for topic in topics]
    for made in admin.create_topics(wanted, operation_timeout=PATIENCE).values():
        made.result()


def producer(bootstrap: str, **settings: Any) -> Producer:
    """Of confluent-kafka; its settings with underscores for dots."""
    options = {"bootstrap.servers": bootstrap, "linger.ms": 20}
    return Producer({**options, **{name.replace("_", "."): value for name, value in settings.items()}})


def produce(writer: Producer, topic: str, messages: Iterable[Message]) -> None:
    """Write, and wait until all are acknowledged."""
    refused: list[Any] = []
    for one in messages:
        writer.produce(
            topic,
            one.value,
            one.key,
            headers=list(one.headers),
            partition=one.partition,
            timestamp=max(0, one.timestamp),
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    assert writer.flush(PATIENCE) == 0
    assert not refused


def consumer(bootstrap: str, group: str, **settings: Any) -> Consumer:
    """Of confluent-kafka, which reads committed records only."""
    options = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
    options |= {
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }
    return Consumer({**options, **{name.replace("_", "."): value for name, value in settings.items()}})


def consume(bootstrap: str, topic: str) -> list[Message]:
    """All committed records of a topic, in order of partition and offset; waits for what is in open transactions."""
    reader = consumer(bootstrap, "nobody")
    found: list[Message] = []
    try:
        parts = reader.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        reader.assign([TopicPartition(topic, number, 0) for number in parts])
        reading = set(parts)
        while reading:
            one = reader.poll(PATIENCE)
            assert one is not None, f"{topic!r} was not read to its end"
            if one.error() is None:
                found.append(_message(one))
            else:
                assert one.error().code() == KafkaError._PARTITION_EOF, one.error()
                place = TopicPartition(topic, one.partition())
                if one.offset() >= reader.get_watermark_offsets(place, cached=True)[1]:
                    reading.discard(one.partition())
    finally:
        reader.close()
    return sorted(found, key=lambda one: (one.partition, one.offset))


def _message(one: Any) -> Message:
    headers = tuple(one.headers() or ())
    return Message(one.key(), one.value(), headers, one.partition(), one.offset(), one.timestamp()[1])
