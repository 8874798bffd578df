"""`headrace topics`: list, create, alter, describe, delete, as a user types them."""

from __future__ import annotations

import signal
import subprocess

import pytest
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker

COUNT = """
from headrace import function

@function("orders")
def count(order: int) -> None: ...
"""


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", COUNT.replace("order: int", "order: dict"))
    return shell


def test_a_topic_is_created_listed_described_altered_and_deleted(shell: Shell) -> None:
    made = shell.json(
        "topics", "create", "orders", "--partitions", "2", "--retention", "7d", "--retention-bytes", "10GB"
    )
    plain = {"name", "partitions", "records", "bytes", "cleanup", "retention_ms", "retention_bytes", "max_bytes"}
    assert set(made) == {*plain, "internal"}
    assert (made["partitions"], made["retention_ms"], made["retention_bytes"]) == (2, 7 * 86_400_000, 10**10)
    again = shell.run("topics", "create", "orders", code=1)
    assert "headrace topics alter orders" in again.stderr
    shell.run("emit", "orders", "-", stdin="1\n2\n3\n")
    (listed,) = shell.json("topics")
    assert (listed["records"], listed["internal"]) == (3, False)
    assert "7d, 10.0 GB" in shell.run("topics").stdout

    altered = shell.run(
        "topics", "alter", "orders", "--partitions", "3", "--retention", "forever", "--max-bytes", "2MB"
    )
    assert "3 partitions now instead of 2: many keys belong to another one" in altered.stderr
    shown = shell.json("topics", "describe", "orders")
    assert (shown["retention_ms"], shown["retention_bytes"], shown["max_bytes"]) == (None, 10**10, 2 * 10**6)
    assert [set(one) for one in shown["partitions"]] == [{"partition", "start", "end", "bytes"}] * 3
    assert sum(one["end"] - one["start"] for one in shown["partitions"]) == 3
    assert "cannot have 1" in shell.run("topics", "alter", "orders", "--partitions", "1", code=1).stderr

    refused = shell.run("topics", "delete", "orders", code=2)
    assert "3 records" in refused.stderr
    assert "--yes" in refused.stderr
    gone = shell.json("topics", "delete", "orders", "--yes")
    assert (gone["topic"], gone["records"], gone["groups"]) == ("orders", 3, [])
    assert shell.json("topics") == []


def test_wrong_words_are_refused_with_the_right_ones(shell: Shell) -> None:
    shell.run("topics", "create", "orders")
    for arguments, words in (
        (["alter", "orders"], "say what is to change"),
        (["alter", "orders", "--retention", "soon"], "for example 7d"),
        (["alter", "orders", "--retention", "0"], "forever"),
        (["alter", "orders", "--retention-bytes", "much"], "64MiB"),
        (["create", "x", "--cleanup", "burn"], "compact"),
        (["create", "x", "--max-bytes", "unlimited"], "any size"),
    ):
        assert words in shell.run("topics", *arguments, code=2).stderr
    assert "the topics are: orders" in shell.run("topics", "describe", "order", code=1).stderr
    assert "the topics are: orders" in shell.run("topics", "delete", "order", "--yes", code=1).stderr
    assert "cannot name a topic" in shell.run("topics", "create", "or ders", code=1).stderr


def test_topics_of_headrace_itself_are_marked_and_groups_are_described(shop: Shell) -> None:
    shop.run("emit", "orders", "-", stdin='{"a": 1}\n{"a": 2}\n')
    shop.run("run", "--until-idle")
    assert {topic["name"]: topic["internal"] for topic in shop.json("topics")} == {
        "orders": False,
        "shop.control": True,
        "shop.count.dlt": True,
    }
    groups = shop.json("topics", "describe", "orders")["groups"]
    assert {(one["group"], one["lag"], one["lost"]) for one in groups} == {("shop.count", 0, 0)}
    assert shop.json("topics", "delete", "orders", "--yes")["groups"] == ["shop.count"]
    assert shop.json("lag") == []


def test_a_topic_is_not_deleted_under_a_running_function(shop: Shell) -> None:
    shop.run("emit", "orders", "{}")
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        refused = shop.run("topics", "delete", "orders", "--yes", code=1)
        assert "is being read by group 'shop.count'" in refused.stderr
        assert str(runtime.pid) in refused.stderr
        runtime.kill()  # a dead one does not hold it
        runtime.wait(90)
    shop.run("topics", "delete", "orders", "--yes")


def test_an_event_without_a_key_for_a_compacted_topic_is_refused_where_it_is_emitted(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "from pydantic import BaseModel\n"
        "from headrace import Retry, function\n"
        "class State(BaseModel):\n"
        "    n: int\n"
        '@function("orders", emits={"state": State})\n'
        "def keep(order: dict) -> State:\n"
        '    return State(n=order["n"])\n',
    )
    shell.run("topics", "create", "state", "--cleanup", "compact")
    assert "give it a key" in shell.run("emit", "state", "1", code=1).stderr
    shell.run("emit", "orders", '{"n": 1}')
    shell.run("emit", "orders", '{"n": 2}', "--key", "k")
    shell.run("run", "--until-idle")
    assert [event["key"] for event in shell.tail("state")] == ["k"]
    (letter,) = shell.tail("shop.keep.dlt")
    assert letter["headers"]["headrace-error-type"] == "EmitRefused"
    assert "is compacted" in letter["headers"]["headrace-error-message"]
    assert letter["headers"]["headrace-attempt"] == "1"


def test_on_kafka_the_same_words_do_the_same(shell: Shell, kafka: Broker) -> None:
    shell.environment["HEADRACE_BROKER"] = f"kafka://{kafka.bootstrap}"
    name = fresh("words")
    made = shell.json("topics", "create", name, "--partitions", "2", "--retention", "7d")
    assert (made["partitions"], made["retention_ms"], made["retention_bytes"]) == (2, 7 * 86_400_000, None)
    altered = shell.json("topics", "alter", name, "--retention", "forever", "--cleanup", "compact", "--partitions", "3")
    assert (altered["partitions"], altered["retention_ms"], altered["cleanup"]) == (3, None, "compact")
    assert len(shell.json("topics", "describe", name)["partitions"]) == 3
    shell.run("topics", "delete", name, "--yes")
    assert name not in {topic["name"] for topic in shell.json("topics")}
    assert "tools of its own" in shell.run("log", "check", code=1).stderr


def test_the_runtime_ends_in_order_after_all_of_this(shop: Shell) -> None:
    shop.run("topics", "create", "orders", "--retention", "1h")
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        shop.run("topics", "alter", "orders", "--retention", "2h")
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(90) == 0
