"""A key goes to the partition that Java's producer, librdkafka (`murmur2_random`) and aiokafka choose for it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from foreign import console, librdkafka
from foreign.message import Message
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker

from headrace.functions.partition import partition_of

PARTITIONS = 7
LETTERS = "".join(map(chr, (*range(0x21, 0x7F), *range(0xA1, 0x500), 0x935, 0xFFFD, 0x1F600)))
DRAW = random.Random(20_260_329)
TEXTS = [
    *("", "a", "ab", "abc", "abcd", "ключ", "鍵", "😀", "order 1", "k" * 10_000),
    *("".join(DRAW.choices(LETTERS, k=DRAW.randint(1, 40))) for _ in range(300)),
]
TEXT_KEYS = [text.encode() for text in TEXTS]
BINARY_KEYS = [
    *(bytes([byte]) * length for byte in (0x00, 0x7F, 0x80, 0xFF) for length in range(1, 9)),
    *(DRAW.randbytes(DRAW.randint(1, 70)) for _ in range(500)),
    DRAW.randbytes(100_000),
]


def expected(keys: Iterable[bytes]) -> dict[bytes, int]:
    return {key: partition_of(key, PARTITIONS) for key in keys}


def stored(bootstrap: str, topic: str) -> dict[bytes, int]:
    return {one.key or b"": one.partition for one in librdkafka.consume(bootstrap, topic)}


def by_java(kafka: Broker, topic: str, _folder: Path) -> None:
    console.require()
    console.produce(kafka.bootstrap, topic, [Message(key, b"") for key in TEXT_KEYS])


def by_librdkafka(kafka: Broker, topic: str, _folder: Path) -> None:
    writer = librdkafka.producer(kafka.bootstrap, partitioner="murmur2_random")
    librdkafka.produce(writer, topic, [Message(key, b"") for key in TEXT_KEYS + BINARY_KEYS])


def by_headrace(kafka: Broker, topic: str, folder: Path) -> None:
    lines = "".join(json.dumps({"key": text}) + "\n" for text in TEXTS)
    Shell(folder).run("emit", topic, "-", "--key-field", "key", "--broker", kafka.url, stdin=lines)


@pytest.mark.parametrize(
    ("write", "keys"),
    [(by_java, TEXT_KEYS), (by_librdkafka, TEXT_KEYS + BINARY_KEYS), (by_headrace, TEXT_KEYS)],
    ids=["Java's console producer", "confluent-kafka", "headrace emit"],
)
def test_every_client_puts_a_key_where_we_expect_it(
    write: Callable[[Broker, str, Path], None], keys: list[bytes], kafka: Broker, tmp_path: Path
) -> None:
    topic = fresh("keys")
    librdkafka.create(kafka.bootstrap, topic, partitions=PARTITIONS)
    write(kafka, topic, tmp_path)
    found = stored(kafka.bootstrap, topic)
    assert found == expected(keys)
    assert set(found.values()) == set(range(PARTITIONS))


def test_aiokafka_puts_a_key_where_we_expect_it() -> None:
    partitioner, every = DefaultPartitioner(), list(range(PARTITIONS))
    assert {key: partitioner(key, every, every) for key in TEXT_KEYS + BINARY_KEYS} == expected(TEXT_KEYS + BINARY_KEYS)


def test_javas_partitioner_puts_a_key_of_any_bytes_where_we_expect_it() -> None:
    """The console producer takes no bytes that are not text, so this asks the class that it uses."""
    console.require_compiler()
    keys = "".join(key.hex() + "\n" for key in TEXT_KEYS + BINARY_KEYS)
    said = console.run([console.PARTITIONS, str(PARTITIONS)], keys.encode()).split()
    assert list(map(int, said)) == [partition_of(key, PARTITIONS) for key in TEXT_KEYS + BINARY_KEYS]
