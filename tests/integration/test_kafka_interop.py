"""What other Kafka clients write is handled as they wrote it, byte for byte."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from types import ModuleType
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from foreign import console, kcat, librdkafka
from foreign.message import PATIENCE, Message
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker

FUNCTIONS = """
from headrace import Context, function

@function(*TOPICS, emits="SEEN")
def note(data: bytes | None, ctx: Context) -> None:
    event = ctx.event
    ctx.emit("SEEN", {
        "topic": event.topic,
        "place": [event.partition, event.offset],
        "time": event.time.isoformat(),
        "key": None if event.key is None else event.key.encode("utf-8", "surrogateescape").hex(),
        "value": None if data is None else data.hex(),
        "headers": [[name, value.hex()] for name, value in event.headers],
        "attributes": [event.id, event.source, event.type, event.subject],
    })
"""
EVERY_BYTE = bytes(range(256))
MESSAGES = [
    Message(b"key", b'{"n": 1}', (("text", b"plain"),)),
    Message(None, b"without a key"),
    Message(b"", b"with an empty key"),
    Message(b"\xff\xfe\x00", EVERY_BYTE, (("binary", EVERY_BYTE), ("empty", b""), ("nil", None))),
    Message(b"again", b"", (("again", b"1"), ("other", b"2"), ("again", b"1"), ("again", b"3"))),
    Message(b"gone", None, (("why", b"a tombstone"),)),
    Message("ключ".encode(), "größer".encode(), (("имя", "鍵".encode()),)),
    Message(b"k" * 2000, b"all alike " * 10_000),
    Message(b"early", b"of 2001", timestamp=1_000_000_000_123),
]
TEXT = [
    Message(b"key", b'{"n": 1}', (("text", b"plain"), ("again", b"1"), ("again", b"2"), ("nil", None), ("empty", b""))),
    Message(None, b"without a key"),
    Message(b"", b"with an empty key"),
    Message("ключ".encode(), None, (("имя", "鍵".encode()),)),
]
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = datetime(2026, 3, 29, 12, 0, 0, 250_000, tzinfo=UTC)
EVENT = {"specversion": "1.0", "source": "/sdk", "type": "Placed", "subject": "7", "time": MOMENT, "partitionkey": "k"}
PAYLOADS: list[tuple[str, object, bytes]] = [
    ("application/json", {"n": 1}, b'{"n":1}'),
    ("text/plain", "größer", "größer".encode()),
    ("application/octet-stream", EVERY_BYTE, EVERY_BYTE),
]


def by_confluent(bootstrap: str, topic: str, **settings: object) -> list[Message]:
    librdkafka.produce(librdkafka.producer(bootstrap, **settings), topic, MESSAGES)
    return MESSAGES


def in_transactions(bootstrap: str, topic: str) -> list[Message]:
    writer = librdkafka.producer(bootstrap, transactional_id=topic)
    writer.init_transactions(PATIENCE)
    for commits, messages in ((True, MESSAGES[:4]), (False, [Message(b"key", b"a ghost")] * 5), (True, MESSAGES[4:])):
        writer.begin_transaction()
        librdkafka.produce(writer, topic, messages)
        writer.commit_transaction(30) if commits else writer.abort_transaction(30)
    return MESSAGES


def by_console(bootstrap: str, topic: str) -> list[Message]:
    console.produce(bootstrap, topic, TEXT)
    return TEXT


def by_kcat(bootstrap: str, topic: str) -> list[Message]:
    headers = ("-H", "again=1", "-H", "again=2", "-H", "nil", "-H", "empty=", "-H", b"binary=\xff\xfe\x01")
    kcat.run(bootstrap, "-P", "-t", topic, "-K", "\t", "-z", "snappy", *headers, stdin=b"k\xff\tone\nkey\ttwo\n")
    kcat.run(bootstrap, "-P", "-t", topic, "-Z", "-K", "\t", stdin=b"gone\t\n")
    kcat.run(bootstrap, "-P", "-t", topic, "-D", "<end>", stdin=EVERY_BYTE)
    carried = (("again", b"1"), ("again", b"2"), ("nil", None), ("empty", b""), ("binary", b"\xff\xfe\x01"))
    plain = [Message(b"gone", None), Message(None, EVERY_BYTE)]
    return [Message(b"k\xff", b"one", carried), Message(b"key", b"two", carried), *plain]


def by_the_sdk(bootstrap: str, topic: str) -> list[Message]:
    messages = []
    for number, (kind, data, _) in enumerate(PAYLOADS):
        for mode in (to_binary_event, to_structured_event):
            one = mode(CloudEvent({**EVENT, "id": f"{mode.__name__} {number}", "datacontenttype": kind}, data))
            assert isinstance(one.key, str)
            messages.append(Message(one.key.encode(), one.value, tuple(one.headers.items())))
    librdkafka.produce(librdkafka.producer(bootstrap), topic, messages)
    return messages


BROKER_TIME = "a topic with the broker's time"
JAVA, KCAT = "Java's console producer", "kcat"
COMMANDS: dict[str, ModuleType] = {JAVA: console, KCAT: kcat}
WRITERS: dict[str, Callable[[str, str], list[Message]]] = {
    "confluent-kafka": by_confluent,
    "confluent-kafka idempotent": lambda *where: by_confluent(*where, enable_idempotence=True),
    "confluent-kafka in transactions": in_transactions,
    **{
        f"confluent-kafka, {codec}": lambda *where, codec=codec: by_confluent(*where, compression_type=codec)
        for codec in CODECS
    },
    BROKER_TIME: by_confluent,
    JAVA: by_console,
    KCAT: by_kcat,
}
SDK = "the CloudEvents SDK"


@dataclass(frozen=True)
class Noted:
    """What was written to the topic of each writer, and a function's reports on all of them."""

    bootstrap: str
    topics: dict[str, str]
    written: dict[str, list[Message]]
    reports: list[dict[str, Any]]

    def of(self, writer: str) -> list[dict[str, Any]]:
        return sorted((one for one in self.reports if one["topic"] == self.topics[writer]), key=itemgetter("place"))


@pytest.fixture(scope="module")
def noted(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Noted:
    """All that can write here has written, and one run of a function has handled it."""
    writers = {**WRITERS, SDK: by_the_sdk}
    for writer, client in COMMANDS.items():
        if not client.is_there():
            del writers[writer]
    app, seen = fresh("interop"), fresh("seen")
    topics = {writer: fresh("written") for writer in writers}
    librdkafka.create(kafka.bootstrap, seen, *(topic for writer, topic in topics.items() if writer != BROKER_TIME))
    librdkafka.create(kafka.bootstrap, topics[BROKER_TIME], message_timestamp_type="LogAppendTime")
    written = {writer: write(kafka.bootstrap, topics[writer]) for writer, write in writers.items()}
    shell = Shell(tmp_path_factory.mktemp("shop"))
    shell.write("functions.py", f"TOPICS = {list(topics.values())}\n" + FUNCTIONS.replace("SEEN", seen))
    shell.run("run", "--broker", kafka.url, "--app", app, "--until-idle")
    reports = [json.loads(one.value or b"") for one in librdkafka.consume(kafka.bootstrap, seen)]
    return Noted(kafka.bootstrap, topics, written, reports)


def _hex(raw: bytes | None) -> str | None:
    return None if raw is None else raw.hex()


@pytest.mark.parametrize("writer", WRITERS)
def test_what_other_clients_write_is_handled_byte_for_byte(writer: str, noted: Noted) -> None:
    if writer in COMMANDS:
        COMMANDS[writer].require()
    stored = librdkafka.consume(noted.bootstrap, noted.topics[writer])
    assert Counter(one.content for one in stored) == Counter(one.content for one in noted.written[writer])
    reports = noted.of(writer)
    assert [one["place"] for one in reports] == [[one.partition, one.offset] for one in stored]
    for report, one in zip(reports, stored, strict=True):
        assert report["value"] == _hex(one.value)
        assert report["key"] == _hex(one.key)
        # A null value of a header is the one thing that a function does not see: it is empty there.
        assert report["headers"] == [[name, _hex(value or b"")] for name, value in one.headers]
        assert datetime.fromisoformat(report["time"]) == EPOCH + timedelta(milliseconds=one.timestamp)


def test_what_the_cloudevents_sdk_writes_is_an_event_with_these_attributes_in_both_modes(noted: Noted) -> None:
    for number, (_, _, payload) in enumerate(PAYLOADS):
        for mode in ("to_binary_event", "to_structured_event"):
            id_ = f"{mode} {number}"
            (report,) = [one for one in noted.of(SDK) if one["attributes"][0] == id_]
            assert report["attributes"] == [id_, "/sdk", "Placed", "7"]
            assert datetime.fromisoformat(report["time"]) == MOMENT
            assert report["key"] == b"k".hex()
            # JSON in a structured event has no bytes of its own; elsewhere they are kept.
            value = bytes.fromhex(report["value"])
            assert value == payload or json.loads(value) == json.loads(payload)
