"""`headrace status`: what it says of functions that run, wait, fail, or are not served."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker

FUNCTIONS = """
from headrace import Context, Discard, Retry, function

@function("orders", retry=Retry(attempts=2, delay=3000.0, jitter="none"))
def accept(order: dict, ctx: Context) -> None:
    if order["id"] == "later":
        raise ValueError("not now")

@function("mails", retry=Retry(attempts=1))
def send(mail: dict) -> None:
    raise ValueError("never")
"""
PATIENCE_S = 60.0


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    return shell


def status(shell: Shell, *arguments: str) -> dict[str, dict[str, Any]]:
    return {one["function"]: one for one in shell.json("status", *arguments)}


def when(shell: Shell, condition: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
    """The status once `condition` holds of it."""
    until = time.monotonic() + PATIENCE_S
    while not condition(found := status(shell)):
        assert time.monotonic() < until, found
    return found


def test_without_a_runtime_functions_are_stopped_and_their_lag_is_known(shop: Shell) -> None:
    shop.run("emit", "orders", '{"id": "1"}')
    shop.run("run", "--until-idle")
    for number in range(3):
        shop.run("emit", "orders", json.dumps({"id": str(number)}))
    accept = status(shop)["accept"]
    assert (accept["state"], accept["reason"], accept["lag"]) == ("stopped", "no runtime serves it", 3)
    assert (accept["workers"], accept["in_flight"], accept["served_by"]) == (None, None, [])
    assert "no runtime serves it" in shop.run("status").stdout


def test_a_running_runtime_says_what_each_function_does_and_why(shop: Shell) -> None:
    shop.run("emit", "orders", '{"id": "later"}')
    shop.run("emit", "mails", "{}")
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        found = when(shop, _is_through)
        assert found["accept"]["reason"] == "1 wait for another attempt"
        assert (found["accept"]["lag"], found["accept"]["waiting"], found["accept"]["in_flight"]) == (1, 1, 0)
        assert found["accept"]["dead_letters"] == 0
        assert found["send"]["since"] is not None
        assert str(runtime.pid) in found["send"]["served_by"][0]
        runtime.send_signal(signal.SIGTERM)
        runtime.communicate()
    assert status(shop)["accept"]["state"] == "stopped"


def _is_through(found: dict[str, dict[str, Any]]) -> bool:
    accept, send = found["accept"], found["send"]
    return (accept["state"], send["state"], send["lag"], send["dead_letters"]) == ("retrying", "idle", 0, 1)


def test_a_runtime_that_was_killed_is_not_believed_any_more(shop: Shell) -> None:
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        when(shop, lambda all_: all_["accept"]["state"] == "idle")
        runtime.kill()
        runtime.communicate()
        assert {one["state"] for one in status(shop).values()} == {"stopped"}


def test_watching_through_a_pipe_gives_a_line_for_each_change(shop: Shell) -> None:
    with shop.start("status", "--watch", "--json", stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        first = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert {(one["function"], one["state"]) for one in first} == {("accept", "stopped"), ("send", "stopped")}
        with shop.start("run", stderr=subprocess.PIPE) as runtime:
            seen = iter(lambda: json.loads(watching.stdout.readline()), None)
            assert next(one for one in seen if one["function"] == "send" and one["state"] == "idle")["served_by"]
            runtime.kill()
            runtime.communicate()


def test_functions_that_are_in_no_target_are_shown_from_the_log(shop: Shell) -> None:
    shop.run("emit", "mails", "{}")
    shop.run("run", "--until-idle")
    (shop.folder / "functions.py").unlink()
    assert status(shop)["send"]["dead_letters"] == 1
    assert "nothing.py" in shop.run("status", "nothing.py", code=1).stderr
    assert "no function" in shop.run("status", "--app", "other").stderr


@pytest.mark.parametrize("order", ["key", "none"])
def test_on_kafka_it_is_told_from_the_progress_of_the_group_that_events_wait(
    shell: Shell, kafka: Broker, order: str
) -> None:
    orders = fresh("orders")
    code = FUNCTIONS.replace('"orders"', f'"{orders}", order="{order}"').replace('"mails"', f'"{fresh("mails")}"')
    shell.write("functions.py", code)
    shell.environment |= {"HEADRACE_APP": fresh("shop"), "HEADRACE_BROKER": kafka.url}
    shell.run("run", "--until-idle")
    shell.run("emit", orders, '{"id": "later"}')
    with shell.start("run", stderr=subprocess.PIPE) as runtime:
        accept = when(shell, lambda all_: all_["accept"]["state"] == "retrying")["accept"]
        assert accept["reason"].startswith("1 wait for another attempt")
        assert (", the next at 20" in accept["reason"]) is (order == "key")
        assert (accept["lag"], accept["waiting"]) == (1, 1)
        runtime.kill()
        runtime.communicate()
