"""Names that are nearly right: what is said of them."""

from __future__ import annotations

import pytest
from harness import Shell

FUNCTIONS = """
from headrace import function

@function("orders")
def confirm(order: dict) -> None: ...

@function("orders")
def refund(order: dict) -> None:
    raise ValueError("no")
"""


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    shell.run("emit", "orders", "{}")
    return shell


@pytest.mark.parametrize(
    "words",
    [
        ("tail", "order"),
        ("topics", "describe", "order"),
        ("topics", "alter", "order", "--partitions", "9"),
        ("topics", "delete", "order", "--yes"),
    ],
)
def test_a_topic_that_is_not_there_is_told_with_the_nearest(shop: Shell, words: tuple[str, ...]) -> None:
    said = shop.run(*words, code=1).stderr
    assert said == "headrace: topic 'order' does not exist (did you mean 'orders'?); the topics are: orders\n"


@pytest.mark.parametrize(
    "words",
    [
        ("pause", "confrim"),
        ("resume", "confrim"),
        ("reset", "confrim", "--to", "latest"),
        ("dlq", "list", "confrim"),
        ("dlq", "show", "confrim", "--all"),
        ("dlq", "redrive", "confrim", "--all"),
        ("dlq", "redrive", "confrim", "--all", "--dry-run"),
        ("invoke", "functions.py::confrim", "{}"),
        ("run", "--start", "confrim=latest"),
    ],
)
def test_a_function_that_is_not_there_is_told_with_the_nearest(shop: Shell, words: tuple[str, ...]) -> None:
    said = shop.run(*words, code=1).stderr
    assert "(did you mean 'confirm'?)" in said
    assert "confirm, refund" in said


def test_a_topic_that_the_function_does_not_read_is_told_with_the_nearest(shop: Shell) -> None:
    said = shop.run("reset", "confirm", "--to", "latest", "--topic", "order", code=1).stderr
    assert "does not subscribe to 'order' (did you mean 'orders'?); its topics are: orders" in said


def test_settings_of_a_function_that_is_not_there_are_told_with_the_nearest(shop: Shell) -> None:
    shop.write("headrace.toml", "[functions.confrim]\ntimeout = 1\n")
    assert "(did you mean 'confirm'?); there are: confirm, refund" in shop.run("functions", code=1).stderr


def test_nothing_is_suggested_for_a_name_like_no_other(shop: Shell) -> None:
    assert "topic 'payments' does not exist; the topics are: orders" in shop.run("tail", "payments", code=1).stderr


def test_emit_makes_a_topic_and_says_so_if_another_is_called_nearly_so(shop: Shell) -> None:
    assert "created topic order; there is 'orders', too" in shop.run("emit", "order", "{}").stderr
    assert shop.run("emit", "payments", "{}").stderr == "created topic payments\n"
    assert shop.run("emit", "order", "-", stdin="{}\n").stderr == "1 event(s) appended to order\n"
