"""`headrace run --until-idle` and events whose time has not come."""

from __future__ import annotations

import pytest
from harness import Shell

FUNCTIONS = """
from headrace import function

@function("orders")
def note(order: dict) -> None: ...
"""


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    return shell


def test_events_that_are_not_due_are_not_waited_for_and_told_at_the_end(shop: Shell) -> None:
    shop.run("emit", "orders", "{}")
    shop.run("emit", "orders", "{}", "--delay", "3h")
    assert "1 delayed event is not due yet, the next in 3 h" in shop.run("run", "--until-idle").stderr
    assert sum(lag["lag"] for lag in shop.json("lag")) == 0
    shop.run("emit", "orders", "-", "--delay", "7d", stdin="{}\n{}\n")
    assert shop.run("run", "--until-idle").stderr.endswith(
        "headrace: 3 delayed events are not due yet, the next in 3 h\n"
    )


def test_an_event_whose_time_has_come_is_handled_before_it_ends(shop: Shell) -> None:
    shop.run("emit", "orders", "{}", "--delay", "0.001")
    assert "delayed" not in shop.run("run", "--until-idle").stderr
    assert sum(lag["committed"] for lag in shop.json("lag")) == 1


def test_delayed_events_of_other_topics_are_no_concern_of_it(shop: Shell) -> None:
    shop.run("emit", "payments", "{}", "--delay", "3h")
    assert "delayed" not in shop.run("run", "--until-idle").stderr
