"""`headrace reset`: a function that goes on from somewhere else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import Shell
from kafkaclient import fresh

FUNCTIONS = """
from headrace import Context, Retry, function

@function("ORDERS", emits="SEEN", retry=Retry(attempts=3, delay=3000.0, jitter="none"))
def note(order: dict, ctx: Context) -> None:
    if order["n"] == "later" and ctx.attempt == 1:
        raise ValueError("not now")
    ctx.emit("SEEN", {"n": order["n"], "attempt": ctx.attempt})
"""


class Shop(Shell):
    """A folder with one function on topics of its own."""

    orders, seen = "orders", "seen"

    def define(self) -> Shop:
        self.write("functions.py", FUNCTIONS.replace("ORDERS", self.orders).replace("SEEN", self.seen))
        return self

    def emit(self, *numbers: Any) -> None:
        self.run("emit", self.orders, "-", "--key", "k", stdin="".join(f"{json.dumps({'n': n})}\n" for n in numbers))

    def handled(self) -> list[Any]:
        return [event["data"]["n"] for event in self.tail(self.seen)]


@pytest.fixture(params=["sqlite", "kafka"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    if request.param == "kafka":
        shop.environment |= {"HEADRACE_BROKER": request.getfixturevalue("kafka").url, "HEADRACE_APP": fresh("shop")}
        shop.orders, shop.seen = fresh("orders"), fresh("seen")
    shop.define().run("run", "--until-idle")  # makes the topics
    return shop


def row_of(found: dict[str, Any]) -> dict[str, Any]:
    """The partition that has the events."""
    return next(row for row in found["partitions"] if row["to"] or row["from"])


def test_it_is_shown_before_it_is_done_and_then_events_are_handled_again(shop: Shop) -> None:
    shop.emit(1, 2, 3)
    shop.run("run", "--until-idle")
    shown = shop.json("reset", "note", "--to", "1")
    assert shown["moved"] is False
    row = row_of(shown)
    assert (row["topic"], row["from"], row["to"], row["repeated"], row["skipped"]) == (shop.orders, 3, 1, 2, 0)
    assert "--yes" in shop.run("reset", "note", "--to", "earliest").stderr
    shop.run("run", "--until-idle")
    assert shop.handled() == [1, 2, 3]
    assert shop.json("reset", "note", "--to", "1", "--yes")["moved"] is True
    shop.run("run", "--until-idle")
    assert sorted(shop.handled()) == [1, 2, 2, 3, 3]


def test_events_can_be_skipped_and_a_time_is_a_place_too(shop: Shop) -> None:
    shop.emit(1)
    shop.run("run", "--until-idle")
    shop.emit(2, 3)
    row = row_of(shop.json("reset", "note", "--to", "latest", "--yes"))
    assert (row["from"], row["to"], row["repeated"], row["skipped"]) == (1, 3, 0, 2)
    shop.run("run", "--until-idle")
    assert shop.handled() == [1]
    assert row_of(shop.json("reset", "note", "--to", "2001-01-01T00:00+00:00"))["repeated"] == 3


def test_a_group_that_runs_is_not_moved_and_attempts_are_forgotten_with_the_move(shop: Shop) -> None:
    shop.emit("later")
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        next(line for line in runtime.stderr if "not now" in line)
        refused = shop.run("reset", "note", "--to", "earliest", "--yes", code=1).stderr
        assert "is served by" in refused
        assert "stop that" in shop.run("reset", "note", "--to", "earliest").stderr
        runtime.terminate()
        runtime.communicate()
    while "is served by" in shop.run("reset", "note", "--to", "latest").stderr:
        pass  # a broker that was too busy to be told goodbye waits for the session to end
    shop.run("reset", "note", "--to", "latest", "--yes")
    shop.run("run", "--until-idle")
    assert shop.handled() == []


def test_what_is_not_there_is_refused_with_what_is(shop: Shop) -> None:
    shop.emit(1)
    shop.run("run", "--until-idle")
    assert "there are: note" in shop.run("reset", "nope", "--to", "latest", code=1).stderr
    assert shop.orders in shop.run("reset", "note", "--to", "latest", "--topic", "other", code=1).stderr
    assert "no partition 99" in shop.run("reset", "note", "--to", "latest", "--partition", "99", code=1).stderr
    assert "earliest, latest" in shop.run("reset", "note", "--to", "soon", code=2).stderr
    shop.run("reset", "note", code=2)
    (only,) = shop.json("reset", "note", "--to", "earliest", "--topic", shop.orders, "--partition", "0")["partitions"]
    assert only["partition"] == 0
