"""`headrace config`, and the options of functions that an operator sets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Shell

FUNCTIONS = """
from headrace import Context, Retry, Sandbox, function

@function("orders", timeout=20.0, retry=Retry(attempts=5, delay=2.0), sandbox=Sandbox(memory=256 << 20))
def accept(order: dict, ctx: Context) -> None:
    while order.get("hang"):
        pass

@function("mails")
async def send(mail: dict) -> None: ...
"""


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    return shell


def settings(shell: Shell, *arguments: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in shell.json("config", *arguments)}


def options(shell: Shell, name: str) -> dict[str, Any]:
    return next(one["options"] for one in shell.json("functions") if one["name"] == name)


# -- config -------------------------------------------------------------------------------------------------------


def test_each_setting_is_shown_with_who_says_it_and_the_first_source_wins(shell: Shell) -> None:
    shell.write("pyproject.toml", '[tool.headrace]\napp = "lowest"\ndrain = 1\ntarget = "x.py"\n')
    shell.write("headrace.toml", 'drain = 2\nbroker = "sqlite:file.db"\n[topics.orders]\npartitions = 3\n')
    shell.environment |= {"HEADRACE_DRAIN": "3", "HEADRACE_KAFKA__SASL_USERNAME": "alice"}
    found = settings(shell, "--broker", "sqlite:told.db")
    here = shell.folder
    shown = {name: (one["value"], one["source"]) for name, one in found.items()}
    assert shown["app"] == ("lowest", str(here / "pyproject.toml"))
    assert shown["broker"] == ("sqlite:told.db", "command line")
    assert shown["drain"] == (3.0, "HEADRACE_DRAIN")
    assert shown["target"] == ("x.py", str(here / "pyproject.toml"))
    assert shown["topics.orders.partitions"] == (3, str(here / "headrace.toml"))
    assert shown["kafka.sasl_username"] == ("alice", "HEADRACE_KAFKA__SASL_USERNAME")
    assert shown["kafka.compression"] == (None, "default")


def test_an_app_without_a_name_is_shown_with_the_one_it_gets(shell: Shell) -> None:
    assert settings(shell)["app"]["value"] == "shop"
    assert "default" in settings(shell)["app"]["source"]


def test_secrets_are_never_shown(shell: Shell) -> None:
    shell.environment |= {"HEADRACE_KAFKA__SASL_PASSWORD": "hunter2", "HEADRACE_KAFKA__SSL_KEY_PASSWORD": "hunter2"}
    shell.environment |= {"HEADRACE_BROKER": "kafka://me:hunter2@host"}
    found = settings(shell)
    assert found["kafka.sasl_password"]["value"] == "…"
    assert found["kafka.sasl_password"]["source"] == "HEADRACE_KAFKA__SASL_PASSWORD"
    for output in (json.dumps(found), shell.run("config").stdout):
        assert "hunter2" not in output


def test_a_key_that_is_none_is_an_error(shell: Shell) -> None:
    shell.write("headrace.toml", "drian = 2\n")
    assert "did you mean 'drain'" in shell.run("config", code=1).stderr


# -- options of functions -----------------------------------------------------------------------------------------


def test_defaults_fill_in_and_a_functions_own_settings_win_over_the_code(shop: Shell) -> None:
    shop.write(
        "headrace.toml",
        "[defaults]\ntimeout = 7\nidle = 9\nretry = {attempts = 2}\n"
        "[functions.accept]\nworkers = [1, 4]\nretry = {attempts = 9}\nsandbox = {memory = '128MiB'}\n"
        "[functions.send]\nconcurrency = 3\nworkers = 2\n",
    )
    accept, send = options(shop, "accept"), options(shop, "send")
    assert accept["timeout"] == {"value": 20.0, "source": "code"}
    assert accept["idle"] == {"value": 9.0, "source": "settings"}
    assert accept["workers"] == {"value": [1, 4], "source": "settings"}
    assert (accept["retry"]["value"][0]["attempts"], accept["retry"]["value"][0]["delay"]) == (9, 2.0)
    assert (accept["sandbox"]["value"]["memory"], accept["sandbox"]["source"]) == (128 << 20, "settings")
    assert send["timeout"] == {"value": 7.0, "source": "settings"}
    assert (send["concurrency"]["value"], send["workers"]["value"]) == (3, [2, 2])
    assert (send["retry"]["value"][0]["attempts"], send["order"]["source"]) == (2, "default")
    assert "(settings)" in shop.run("functions").stdout


def test_the_timeout_that_settings_say_is_the_one_in_force(shop: Shell) -> None:
    shop.environment["HEADRACE_FUNCTIONS__ACCEPT__TIMEOUT"] = "0.3"
    result = shop.json("invoke", "functions.py::accept", '{"hang": true}', code=1)
    assert result["outcome"] == "timed-out"
    assert "0.3 s" in result["error"]["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[functions.acept]\ntimeout = 1", ["functions.acept", "accept, send"]),
        ('[functions.accept]\norder = "none"', ["functions.accept.order", "the code's"]),
        ('[defaults]\ntopics = ["x"]', ["defaults.topics", "the code's"]),
        ("[defaults]\ntimout = 1", ["defaults.timout", "'timeout'"]),
        ("[functions.accept]\ntimeout = 0", ["functions.accept.timeout", "greater than 0"]),
        ("[functions.accept]\nworkers = [4, 1]", ["functions.accept.workers", "least"]),
        ("[functions.accept]\nconcurrency = 2", ["functions.accept.concurrency=2", "async def"]),
        ("[functions.accept]\nsandbox = {memory = '1GiB'}", ["sandbox.memory", "narrow"]),
        ("[defaults]\nrate = 0", ["defaults.rate", "greater than"]),
        ("[functions.accept]\nbatch = {size = 5}", ["functions.accept.batch", "one event at a time"]),
        ("[defaults]\nretry = {attempts = 0}", ["defaults.retry.attempts"]),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_name(shop: Shell, text: str, words: list[str]) -> None:
    shop.write("headrace.toml", text)
    message = shop.run("functions", code=1).stderr
    assert all(word in message for word in words), message
