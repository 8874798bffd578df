"""`headrace invoke` with data of its own making, and with events of the past."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from harness import Shell
from kafkaclient import fresh
from kafkaserver import KafkaServer

FUNCTIONS = '''
import datetime
from typing import ClassVar, Literal
from pydantic import BaseModel, Field, FutureDate
from headrace import Batch, Context, Retry, function

class Order(BaseModel):
    order_id: str
    total: float = Field(gt=0)

class Refund(BaseModel):
    event_type: ClassVar[str] = "order.refunded"
    order_id: str

class Seen(BaseModel):
    data: dict
    type: str | None
    id: str
    key: str | None
    topic: str
    partition: int
    offset: int
    time: datetime.datetime
    headers: list[str]
    attempt: int

class Count(BaseModel):
    count: int

class Later(BaseModel):
    day: FutureDate

class Odd(BaseModel):
    code: str = Field(pattern=r"^\\p{Lu}{2}$")

@function("orders", emits={"seen": Seen}, retry=Retry(attempts=2, delay=0.01))
def look(order: Order | Refund, ctx: Context) -> Seen:
    """Says all that it sees."""
    if order.order_id == "broken":
        raise ValueError("it is broken")
    event = ctx.event
    return Seen(
        data=order.model_dump(), type=event.type, id=event.id, key=event.key, topic=event.topic,
        partition=event.partition, offset=event.offset, time=event.time, attempt=ctx.attempt,
        headers=[name for name, _ in event.headers if not name.startswith("ce_")],
    )

@function("orders", emits={"counts": Count}, batch=Batch(size=5, wait=0.1))
def count(orders: list[Order], ctx: Context) -> list[Count]:
    return [Count(count=len(orders))]

@function("days")
def wait(day: Later) -> None: ...

@function("odd")
def odd(odd: Odd) -> None: ...

@function("texts", emits="out")
def text(text: str, ctx: Context) -> None:
    ctx.emit("out", text)
'''


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    return shell


def seen(result: dict[str, Any]) -> dict[str, Any]:
    """What `look` saw."""
    assert result["outcome"] == "done", result
    (emit,) = result["emitted"]
    found: dict[str, Any] = emit["data"]
    return found


# -- samples ------------------------------------------------------------------------------------------------------


def test_a_sample_is_handled_and_shown(shop: Shell) -> None:
    result = shop.json("invoke", "functions.py::look", "--sample", "--key", "k", "--header", "a=1")
    assert set(result) == {"sample", "outcome", "emitted", "error", "logs", "duration_ms"}
    found = seen(result)
    assert found["type"] == result["sample"]["type"]
    assert result["sample"]["data"] == found["data"]
    assert (found["key"], found["headers"]) == ("k", ["content-type", "a"])
    lines = shop.run("invoke", "functions.py::look", "--sample", "--type", "Order").stdout.splitlines()
    assert lines[0].startswith('sample of Order {"order_id": "order-')
    assert lines[1].startswith("done in ")


@pytest.mark.parametrize("type_", ["Order", "order.refunded"])
def test_of_several_types_one_is_chosen(shop: Shell, type_: str) -> None:
    result = shop.json("invoke", "functions.py::look", "--sample", "--type", type_)
    assert result["sample"]["type"] == seen(result)["type"] == type_
    assert ("total" in result["sample"]["data"]) is (type_ == "Order")


def test_a_type_that_is_not_taken_is_refused_with_those_that_are(shop: Shell) -> None:
    refused = shop.run("invoke", "functions.py::look", "--sample", "--type", "Cart", code=1)
    assert "look takes no type 'Cart'; it takes: Order, order.refunded" in refused.stderr


def test_a_batch_handler_gets_a_sample_of_one_item_and_text_one_of_text(shop: Shell) -> None:
    result = shop.json("invoke", "functions.py::count", "--sample")
    assert [emit["data"] for emit in result["emitted"]] == [{"count": 1}]
    assert result["sample"]["data"].keys() == {"order_id", "total"}
    assert shop.json("invoke", "functions.py::text", "--sample")["emitted"][0]["data"] == "sample"


def test_what_no_sample_can_be_made_of_is_told_with_its_place(shop: Shell) -> None:
    refused = shop.run("invoke", "functions.py::odd", "--sample", code=1)
    assert "odd: no sample can be made of what it takes: code has to be text that matches" in refused.stderr
    assert "Field(examples=" in refused.stderr


def test_a_rule_that_the_schema_does_not_say_is_hinted_at(shop: Shell) -> None:
    refused = shop.run("invoke", "functions.py::wait", "--sample", code=1)
    assert "Date should be in the future" in refused.stdout
    assert "the sample breaks a rule that the schema does not say" in refused.stderr


# -- the past -----------------------------------------------------------------------------------------------------


def test_a_past_event_is_seen_as_it_lies(shop: Shell) -> None:
    data = {"order_id": "1", "total": 5.0}
    shop.run("emit", "orders", '{"order_id": "0", "total": 1}', "--key", "k")
    position = shop.json("emit", "orders", json.dumps(data), "--key", "k", "--type", "Order", "--header", "a=1")
    lies = next(event for event in shop.tail("orders") if event["id"] == position["id"])
    place = f"orders:{position['partition']}:{position['offset']}"
    result = shop.json("invoke", "functions.py::look", "--from", place)
    assert result["from"] == {
        **{name: position[name] for name in ("topic", "partition", "offset", "id")},
        **{name: lies[name] for name in ("key", "type", "time", "headers", "data")},
        "origin": None,
        "function": None,
        "attempt": 1,
    }
    found = seen(result)
    assert found["data"] == data
    assert {name: found[name] for name in position} == position
    assert (found["key"], found["type"], found["attempt"]) == ("k", "Order", 1)
    assert datetime.fromisoformat(found["time"]) == datetime.fromisoformat(lies["time"])
    assert "a" in found["headers"]


def test_nothing_is_published_and_no_progress_is_made(shop: Shell) -> None:
    position = shop.json("emit", "orders", '{"order_id": "1"}', "--type", "order.refunded")
    place = f"orders:{position['partition']}:0"
    text = shop.run("invoke", "functions.py::look", "--from", place).stdout
    assert text.startswith(f"from orders/{position['partition']}/0  id {position['id']}")
    assert 'order.refunded {"order_id": "1"}' in text
    assert [topic["name"] for topic in shop.json("topics")] == ["orders"]
    assert shop.json("lag") == []


def test_a_dead_letter_is_the_event_it_is_a_copy_of_at_the_attempt_that_failed_last(shop: Shell) -> None:
    position = shop.json("emit", "orders", '{"order_id": "broken"}', "--type", "order.refunded", "--header", "a=1")
    (original,) = shop.tail("orders")
    shop.run("run", "--until-idle")
    (letter,) = shop.tail("shop.look.dlt")
    place = f"shop.look.dlt:{letter['partition']}:{letter['offset']}"
    result = shop.json("invoke", "functions.py::look", "--from", place, code=1)
    assert (result["outcome"], result["error"]["message"]) == ("failed", "it is broken")
    told = result["from"]
    assert (told["topic"], told["function"], told["attempt"]) == ("shop.look.dlt", "look", 2)
    assert told["origin"] == {name: position[name] for name in ("topic", "partition", "offset")}
    assert {name: told[name] for name in ("id", "time", "headers")} == {
        n: original[n] for n in ("id", "time", "headers")
    }
    shop.write("functions.py", FUNCTIONS.replace('raise ValueError("it is broken")', "pass"))
    found = seen(shop.json("invoke", "functions.py::look", "--from", place))
    assert {name: found[name] for name in position} == position
    assert (found["headers"], found["attempt"]) == (["content-type", "a"], 2)
    assert datetime.fromisoformat(found["time"]) == datetime.fromisoformat(original["time"])
    text = shop.run("invoke", "functions.py::look", "--from", place).stdout
    assert f"a copy of orders/{position['partition']}/0 for look, attempt 2" in text


def test_what_waits_in_a_retry_topic_is_the_event_it_is_a_copy_of_at_its_next_attempt(shop: Shell) -> None:
    position = shop.json("emit", "orders", '{"order_id": "broken"}', "--type", "order.refunded")
    shop.run("run", "--until-idle")
    shop.run("dlq", "redrive", "look", "--all")
    (waiting,) = shop.tail("shop.look.retry.redrive")
    place = f"shop.look.retry.redrive:{waiting['partition']}:{waiting['offset']}"
    told = shop.json("invoke", "functions.py::look", "--from", place, code=1)["from"]
    assert told["origin"] == {name: position[name] for name in ("topic", "partition", "offset")}
    assert (told["function"], told["attempt"], told["id"]) == ("look", 1, position["id"])


def test_a_place_where_nothing_is_is_told_with_what_there_is(shop: Shell) -> None:
    def refused(place: str) -> str:
        return shop.run("invoke", "functions.py::look", "--from", place, code=1).stderr

    assert "topic 'orders' does not exist; the topics are: none yet" in refused("orders:0:0")
    shop.run("topics", "create", "orders", "--partitions", "2")
    assert "orders/1 has no event at offset 0 yet: it is empty" in refused("orders:1:0")
    assert "topic 'orders' has no partition 2; it has 2, counted from 0" in refused("orders:2:0")
    shop.run("topics", "create", "short", "--partitions", "1", "--retention-bytes", "1")
    shop.run("topics", "create", "compact", "--partitions", "1", "--cleanup", "compact")
    for number in range(4):
        for topic in ("short", "compact"):
            shop.run("emit", topic, json.dumps({"order_id": str(number)}), "--key", "k")
    assert "short/0 has no event at offset 4 yet: the last one is at 3" in refused("short:0:4")
    shop.run("log", "compact")
    assert "short/0 has no event at offset 0 any more, retention deleted it" in refused("short:0:0")
    assert "compact/0 has no event at offset 1: it was compacted away" in refused("compact:0:1")
    assert "the next one is at 3" in refused("compact:0:1")


def test_on_kafka_the_past_is_reopened_just_so(shop: Shell, kafka: KafkaServer) -> None:
    topic, app = fresh("orders"), fresh("shop")
    seen = fresh("seen")
    shop.write("functions.py", FUNCTIONS.replace('"orders"', f'"{topic}"').replace('"seen"', f'"{seen}"'))
    shop.environment |= {"HEADRACE_BROKER": kafka.url, "HEADRACE_APP": app}
    shop.run("topics", "create", seen)
    shop.run("run", "--until-idle")  # which creates the topics
    position = shop.json("emit", topic, '{"order_id": "broken"}', "--type", "order.refunded", "--key", "k")
    place = f"{topic}:{position['partition']}:{position['offset']}"
    result = shop.json("invoke", "functions.py::look", "--from", place, code=1)
    assert (result["from"]["id"], result["from"]["key"], result["error"]["message"]) == (
        position["id"],
        "k",
        "it is broken",
    )
    beyond = shop.run("invoke", "functions.py::look", "--from", f"{topic}:{position['partition']}:9", code=1)
    assert f"has no event at offset 9 yet: the last one is at {position['offset']}" in beyond.stderr
    shop.run("run", "--until-idle")
    (letter,) = shop.tail(f"{app}.look.dlt")
    told = shop.json("invoke", "functions.py::look", "--from", f"{app}.look.dlt:{letter['partition']}:0", code=1)[
        "from"
    ]
    assert told["origin"] == {name: position[name] for name in ("topic", "partition", "offset")}
    assert (told["function"], told["attempt"], told["id"]) == ("look", 2, position["id"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "orders:0"], "'orders:0' is not TOPIC:PARTITION:OFFSET, for example orders:0:42"),
        (["--from", "orders:0:-1"], "is not TOPIC:PARTITION:OFFSET"),
        (["--from", f"orders:0:{'9' * 5000}"], "is not TOPIC:PARTITION:OFFSET"),
        (["--from", ":0:1"], "is not TOPIC:PARTITION:OFFSET"),
        (["--from", "orders:0:1", "{}"], "--from takes a past event as it is; it does not go with DATA"),
        (["--from", "orders:0:1", "--sample"], "does not go with --sample"),
        (["--from", "orders:0:1", "--type", "Order"], "does not go with --type"),
        (["--sample", "{}"], "--sample makes the data; it does not go with DATA"),
        (["--sample", "--null"], "does not go with --null"),
        ([], "DATA is missing"),
    ],
)
def test_an_event_is_asked_for_in_one_way(shop: Shell, arguments: list[str], says: str) -> None:
    assert says in shop.run("invoke", "functions.py::look", *arguments, code=2).stderr
