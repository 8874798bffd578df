"""What headrace writes to Kafka is read by other clients, the same by each of them, and by the CloudEvents SDK."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from foreign import console, kcat, librdkafka
from foreign.message import Message
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker

from headrace.functions.partition import partition_of

FUNCTIONS = """
from headrace import Context, Reject, function

def follow(topic: str, order: dict, ctx: Context) -> None:
    headers = [("again", "1"), ("again", "2"), ("имя", "鍵"), ("binary", b"\\xff\\xfe"), ("empty", b"")]
    ctx.emit(topic, {"n": order["n"], "city": "Zürich"}, type="Followed", headers=headers)
    ctx.emit(topic, "plain text", type="Told", key=b"\\xff\\xfe")
    ctx.emit(topic, b"\\x00\\xff", key=None)

@function("ORDERS", emits="ONCE-OR-MORE")
def relay(order: dict, ctx: Context) -> None:
    follow("ONCE-OR-MORE", order, ctx)

@function("ORDERS", emits="ONCE", guarantee="effectively-once")
def exact(order: dict, ctx: Context) -> None:
    follow("ONCE", order, ctx)

@function("ORDERS", dead_letter="DEAD")
def refuse(order: dict) -> None:
    raise Reject("no such city")
"""
KINDS = {"orders": "ORDERS", "relayed": "ONCE-OR-MORE", "exact": "ONCE", "dead": "DEAD"}
PARTITIONS = 5
KEYS = ["a", "ключ", "", "long" * 100, "1", "2", "3", "4"]


@dataclass(frozen=True)
class Written:
    """The records of the orders' topic, of both functions that emit, and the dead letters, as librdkafka reads them."""

    bootstrap: str
    prefix: str
    topics: dict[str, list[Message]]


@pytest.fixture(scope="module")
def written(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Eight orders from the command line, and what a run of three functions made of them."""
    prefix = fresh("wire")
    names = {kind: f"{prefix}-{kind}" for kind in KINDS}
    librdkafka.create(kafka.bootstrap, *names.values(), partitions=PARTITIONS)
    shell = Shell(tmp_path_factory.mktemp("shop"))
    text = FUNCTIONS
    for kind, placeholder in sorted(KINDS.items(), key=lambda one: -len(one[1])):
        text = text.replace(f'"{placeholder}"', f'"{names[kind]}"')
    shell.write("functions.py", text)
    at = ("--broker", kafka.url)
    lines = "".join(json.dumps({"n": n, "key": key}) + "\n" for n, key in enumerate(KEYS[:-1]))
    headers = ("--header", "again=1", "--header", "again=2", "--header", "имя=鍵")
    shell.run("emit", names["orders"], "-", "--key-field", "key", "--type", "Order", *headers, *at, stdin=lines)
    shell.run("emit", names["orders"], '{"n": 7}', "--key", KEYS[-1], "--type", "Order", "--id", "seven", *headers, *at)
    shell.run("run", *at, "--app", prefix, "--until-idle")
    return Written(kafka.bootstrap, prefix, {kind: librdkafka.consume(kafka.bootstrap, names[kind]) for kind in KINDS})


def _event(one: Message) -> dict[str, Any]:
    """As the SDK reads it: its attributes and its data."""
    # All headers must be text for it, also those that are not the event's.
    headers = {name: value or b"" for name, value in one.headers if name != "binary"}
    event = from_binary_event(KafkaMessage(headers, (one.key or b"").decode(errors="replace"), one.value or b""))
    return {**event.get_attributes(), "data": event.get_data()}


def _own(one: Message) -> list[tuple[str, bytes | None]]:
    return [pair for pair in one.headers if not pair[0].startswith(("ce_", "headrace-", "content-type"))]


def test_kcat_reads_every_record_as_librdkafka_does(written: Written) -> None:
    kcat.require()
    for kind, messages in written.topics.items():
        printed = kcat.lines(written.bootstrap, f"{written.prefix}-{kind}")
        assert printed == {kcat.as_printed(one) for one in messages}


def test_javas_console_consumer_reads_every_record_as_librdkafka_does(written: Written) -> None:
    console.require()
    expected = {console.as_printed(one) for messages in written.topics.values() for one in messages}
    printed = console.lines(written.bootstrap, f"{re.escape(written.prefix)}-.*", len(expected))
    assert printed == expected


def test_what_the_command_line_emits_is_an_event_for_the_cloudevents_sdk(written: Written) -> None:
    orders = written.topics["orders"]
    events = sorted((_event(one) for one in orders), key=lambda one: one["data"]["n"])
    assert [event["data"] for event in events[:-1]] == [{"n": n, "key": key} for n, key in enumerate(KEYS[:-1])]
    assert events[-1]["id"] == "seven"
    for event in events:
        assert (event["specversion"], event["type"], event["datacontenttype"]) == ("1.0", "Order", "application/json")
    for one in orders:
        assert _own(one) == [("again", b"1"), ("again", b"2"), ("имя", "鍵".encode())]
        assert one.key is not None
        assert one.partition == partition_of(one.key, PARTITIONS)
    assert {one.key for one in orders} == {key.encode() for key in KEYS}


@pytest.mark.parametrize("kind", ["relayed", "exact"])
def test_what_a_function_emits_is_an_event_for_the_cloudevents_sdk(kind: str, written: Written) -> None:
    orders = {one.key: _event(one) for one in written.topics["orders"]}
    emitted = written.topics[kind]
    followed = [one for one in emitted if dict(one.headers)["ce_type"] == b"Followed"]
    assert {one.key for one in followed} == set(orders)
    for one in followed:
        event, cause = _event(one), orders[one.key]
        assert event["data"] == {"n": cause["data"]["n"], "city": "Zürich"}
        assert event["source"] == f"/{written.prefix}/{'relay' if kind == 'relayed' else kind}"
        assert event["time"].utcoffset() == timedelta(0)
        assert event["partitionkey"] == (one.key or b"").decode()
        headers = [("again", b"1"), ("again", b"2"), ("имя", "鍵".encode()), ("binary", b"\xff\xfe"), ("empty", b"")]
        assert [pair for pair in headers if pair in _own(one)] == headers
        assert dict(one.headers)["headrace-cause"] == str(cause["id"]).encode()
        assert one.partition == partition_of(one.key or b"", PARTITIONS)
    told = [one for one in emitted if dict(one.headers)["ce_type"] == b"Told"]
    assert {(one.key, one.value, one.partition) for one in told} == {
        (b"\xff\xfe", b"plain text", partition_of(b"\xff\xfe", PARTITIONS))
    }
    others = [one for one in emitted if one not in followed + told]
    assert [(one.key, one.value) for one in others] == [(None, b"\x00\xff")] * len(KEYS)
    assert len({_event(one)["id"] for one in emitted}) == 3 * len(KEYS)


def test_a_dead_letter_has_the_key_the_value_and_the_headers_of_its_event_and_says_why(written: Written) -> None:
    dead = {one.key: one for one in written.topics["dead"]}
    assert len(written.topics["dead"]) == len(KEYS)
    for order in written.topics["orders"]:
        letter = dead[order.key]
        assert letter.value == order.value
        assert [pair for pair in letter.headers if not pair[0].startswith("headrace-")] == list(order.headers)
        told = dict(letter.headers)
        assert told["headrace-error-message"] == b"no such city"
        assert (told["headrace-origin-partition"], told["headrace-origin-offset"]) == (
            b"%d" % order.partition,
            b"%d" % order.offset,
        )
        assert _event(letter)["id"] == _event(order)["id"]
