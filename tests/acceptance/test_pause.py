"""`headrace pause` and `resume`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Shell
from kafkaclient import fresh

FUNCTIONS = """
from headrace import Context, Retry, function

@function("ORDERS", emits="SEEN", retry=Retry(attempts=2, delay=0.05))
def note(order: dict, ctx: Context) -> None:
    if order.get("fails"):
        raise ValueError("not now")
    ctx.emit("SEEN", {"n": order["n"]})

@function("ORDERS", emits="OTHER")
def other(order: dict, ctx: Context) -> None:
    ctx.emit("OTHER", {"n": order["n"]})
"""


class Shop(Shell):
    """A folder with two functions on topics of its own, which are there."""

    orders, seen, other = "orders", "seen", "other"

    def define(self) -> Shop:
        text = FUNCTIONS.replace("ORDERS", self.orders).replace("SEEN", self.seen).replace("OTHER", self.other)
        self.write("functions.py", text)
        self.run("run", "--until-idle")
        return self

    def emit(self, **order: Any) -> None:
        self.run("emit", self.orders, json.dumps(order), "--key", "k")

    def until(self, topic: str, count: int) -> list[Any]:
        """The first `count` events of a topic, once they are there."""
        output = self.run("tail", topic, "--from", "earliest", "-n", str(count), "--json").stdout
        return [json.loads(line)["data"]["n"] for line in output.splitlines()]

    def state(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """How `note` stands, once that is as wanted."""
        with self.start("status", "--watch", "--json", stdout=subprocess.PIPE) as watching:
            assert watching.stdout is not None
            lines = (json.loads(line) for line in watching.stdout)
            return next(one for one in lines if one["function"] == "note" and wanted(one))


@pytest.fixture(params=["sqlite", "kafka"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    if request.param == "kafka":
        shop.environment |= {"HEADRACE_BROKER": request.getfixturevalue("kafka").url, "HEADRACE_APP": fresh("shop")}
        shop.orders, shop.seen, shop.other = fresh("orders"), fresh("seen"), fresh("other")
    return shop.define()


def test_a_running_function_stands_still_and_goes_on(shop: Shop) -> None:
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        shop.emit(n=1)
        assert shop.until(shop.seen, 1) == [1]
        paused = shop.json("pause", "note")
        assert (paused["function"], paused["state"]) == ("note", "paused")
        stands = shop.state(lambda one: one["state"] == "paused")
        assert f"paused by {paused['by']} at {paused['at']}" in stands["reason"]
        assert runtime.stderr is not None
        assert any("a function is paused" in line for line in iter(runtime.stderr.readline, ""))
        shop.emit(n=2)
        assert shop.until(shop.other, 2) == [1, 2]  # the other function goes on
        assert len(shop.tail(shop.seen)) == 1
        shop.run("resume", "note")
        assert shop.until(shop.seen, 2) == [1, 2]
        runtime.terminate()
        runtime.communicate()


def test_a_pause_survives_restarts_and_charges_nothing(shop: Shop) -> None:
    shop.run("pause", "note")
    shop.emit(n=1)
    blocked = shop.run("run", "--until-idle", code=1).stderr
    assert "paused by" in blocked
    assert shop.tail(shop.seen) == []
    assert "paused by" in shop.state(lambda one: one["state"] == "stopped")["reason"]
    assert shop.json("resume", "note")["state"] == "resumed"
    shop.run("run", "--until-idle")
    assert shop.until(shop.seen, 1) == [1]


def test_what_is_so_already_stays_so_and_what_is_not_there_is_refused(shop: Shop) -> None:
    first = shop.json("pause", "note")
    again = shop.json("pause", "note")
    assert (again["state"], again["at"]) == ("was paused already", first["at"])
    shop.run("resume", "note")
    assert shop.json("resume", "note")["state"] == "was not paused"
    assert "there are: note, other" in shop.run("pause", "nope", code=1).stderr
