"""`headrace dlq`: dead letters found, shown, and handled once more."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import Shell
from kafkaclient import fresh

from headrace.runtime.ports import Append
from headrace.sandbox.headers import pack
from headrace.triggers.brokers.sqlite import SqliteLog

FUNCTIONS = """
import os
from headrace import Context, Reject, Retry, Sandbox, function

@function("ORDERS", emits="SEEN", order="ORDER", retry=Retry(attempts=2, delay=0.01), sandbox=Sandbox(env=["MENDED"]))
def note(order: dict, ctx: Context) -> None:
    if os.environ.get("MENDED") != "yes":
        if order["n"] == 0:
            raise Reject("not this one")
        raise ValueError("broken")
    ctx.emit("SEEN", {"n": order["n"], "attempt": ctx.attempt, "a": ctx.event.header("a")})

@function("ORDERS", emits="OTHER")
def other(order: dict, ctx: Context) -> None:
    ctx.emit("OTHER", {"n": order["n"]})
"""


class Shop(Shell):
    """A folder with two functions on topics of its own, which are there; `note` fails until it is mended."""

    orders, seen, other = "orders", "seen", "other"

    def define(self, order: str) -> Shop:
        text = FUNCTIONS.replace("ORDERS", self.orders).replace("SEEN", self.seen)
        self.write("functions.py", text.replace("OTHER", self.other).replace('"ORDER"', f'"{order}"'))
        self.run("run", "--until-idle")
        return self

    def fail(self, *numbers: int) -> None:
        """Emit these, and have them fail for good."""
        for number in numbers:
            self.run(
                "emit", self.orders, json.dumps({"n": number}), "--key", "k", "--header", "a=1", "--id", f"e{number}"
            )
        self.run("run", "--until-idle")

    def mend(self) -> None:
        self.environment["MENDED"] = "yes"

    def handled(self, topic: str) -> list[Any]:
        return [event["data"]["n"] for event in self.tail(topic)]


@pytest.fixture(params=["sqlite-key", "kafka-key", "kafka-none"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    broker, order = request.param.split("-")
    shop = Shop(tmp_path)
    shop.environment["HEADRACE_APP"] = fresh("shop")
    if broker == "kafka":
        shop.environment["HEADRACE_BROKER"] = request.getfixturevalue("kafka").url
        shop.orders, shop.seen, shop.other = fresh("orders"), fresh("seen"), fresh("other")
    return shop.define(order)


@pytest.fixture
def embedded(shell: Shell) -> Shop:
    return Shop(shell.folder).define("key")


def test_letters_are_grouped_shown_and_handled_once_more_by_their_function_alone(shop: Shop) -> None:
    shop.fail(0, 1, 2)
    groups = {group["error_type"]: group for group in shop.json("dlq", "list", "note")}
    broken = groups["ValueError"]
    assert (broken["count"], groups["Rejected"]["count"]) == (2, 1)
    assert broken["example"] in {"e1", "e2"}
    assert broken["first"] <= broken["last"]
    (shown,) = shop.json("dlq", "show", "note", "--event", "e1")
    assert (shown["id"], shown["data"], shown["key"], shown["attempts"]) == ("e1", {"n": 1}, "k", 2)
    assert (shown["error"]["message"], shown["origin"]["topic"]) == ("broken", shop.orders)
    shop.mend()
    dry = shop.json("dlq", "redrive", "note", "--fingerprint", broken["fingerprint"], "--dry-run")
    assert dry == {"selected": 2, "would_pass": 2, "would_fail": 0}
    done = shop.json("dlq", "redrive", "note", "--fingerprint", broken["fingerprint"], "--yes")
    assert done == {"selected": 2, "redriven": 2, "skipped": []}
    assert [group["error_type"] for group in shop.json("dlq", "list")] == ["Rejected"]
    shop.run("run", "--until-idle")
    found = {event["data"]["n"]: event for event in shop.tail(shop.seen)}
    assert found.keys() == {1, 2}
    assert {event["data"]["attempt"] for event in found.values()} == {1}
    assert {event["data"]["a"] for event in found.values()} == {"1"}
    assert found[1]["headers"]["headrace-cause"] == "e1"
    assert sorted(shop.handled(shop.other)) == [0, 1, 2]


def test_a_running_function_takes_what_is_redriven(shop: Shop) -> None:
    shop.fail(1)
    shop.mend()
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        shop.run("dlq", "redrive", "note", "--all", "--yes")
        output = shop.run("tail", shop.seen, "--from", "earliest", "-n", "1", "--json").stdout
        assert json.loads(output)["data"]["n"] == 1
        runtime.terminate()
        runtime.communicate()


def test_an_event_that_fails_again_and_again_has_to_be_forced(embedded: Shop) -> None:
    embedded.fail(1)
    for count in range(3):
        (shown,) = embedded.json("dlq", "show", "note", "--all")
        assert shown["redrives"] == count
        assert embedded.json("dlq", "redrive", "note", "--all", "--yes")["redriven"] == 1
        embedded.run("run", "--until-idle")
    (status,) = (one for one in embedded.json("status") if one["function"] == "note")
    assert status["dead_letters"] == 1
    refused = embedded.json("dlq", "redrive", "note", "--all", "--yes")
    assert (refused["redriven"], refused["skipped"][0]["event"]) == (0, "e1")
    embedded.mend()
    assert embedded.json("dlq", "redrive", "note", "--all", "--yes", "--force")["redriven"] == 1
    embedded.run("run", "--until-idle")
    assert embedded.handled("seen") == [1]


def test_a_selection_is_needed_and_one_that_matches_nothing_exits_with_one(embedded: Shop) -> None:
    embedded.fail(1)
    embedded.run("dlq", "redrive", "note", code=2)
    embedded.run("dlq", "show", "note", code=2)
    assert "no open dead letters" not in embedded.run("dlq", "list").stderr
    for words in (["show"], ["redrive", "--yes"]):
        assert (
            "no open dead letter matches"
            in embedded.run("dlq", words[0], "note", "--event", "x", *words[1:], code=1).stderr
        )
    assert "those of: note, other" in embedded.run("dlq", "list", "nope", code=1).stderr
    assert "ValueError" in embedded.run("dlq", "list").stdout
    assert "broken" in embedded.run("dlq", "show", "note", "--all").stdout


def test_a_header_of_a_foreign_event_does_not_count_as_a_redrive(embedded: Shop) -> None:

    async def append() -> None:
        log = await SqliteLog.open(embedded.folder / ".headrace" / "log.db")
        headers = pack([("headrace-redrive", b"7")])
        await log.append([Append("orders", 0, 1, b"k", b'{"n": 1}', headers)])
        await log.close()

    asyncio.run(append())
    embedded.run("run", "--until-idle")
    (shown,) = embedded.json("dlq", "show", "note", "--all")
    assert shown["redrives"] == 0
