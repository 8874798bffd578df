"""The messages of docs/errors.md: each is brought about through the real command line, and compared with the page."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from docpages import ROOT
from harness import Shell

PAGE = ROOT / "docs" / "errors.md"
MESSAGES = dict(re.findall(r"^### ([^\n]+)\n\n```text\n(.*?)```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))

HEAD = "from headrace import *\nfrom pydantic import BaseModel\n\n"
SCENARIOS: dict[str, Callable[[Shell], str]] = {}
Scenario = Callable[[Shell], str]


def produces(title: str) -> Callable[[Scenario], Scenario]:
    """The decorated function brings about the message under this heading, and returns what was printed."""

    def add(scenario: Scenario) -> Scenario:
        SCENARIOS[title] = scenario
        return scenario

    return add


def fits(printed: str, message: str) -> bool:
    """Whether the message, in which `…` is anything and a line may break anywhere, is in what was printed."""
    words = re.escape(" ".join(message.split())).replace("…", ".*?")
    return re.search(words, " ".join(printed.split())) is not None


def test_each_message_of_the_page_has_its_test_and_each_test_its_message() -> None:
    assert list(SCENARIOS) == list(MESSAGES)
    assert PAGE.read_text().count("```text") == len(MESSAGES)


@pytest.mark.parametrize("title", SCENARIOS)
def test_the_message_is_what_the_page_says(shell: Shell, title: str) -> None:
    printed = SCENARIOS[title](shell)
    assert fits(printed, MESSAGES[title]), printed


def test_a_message_that_differs_would_be_found() -> None:
    assert fits("headrace: /a/b.py: is\nnot there", "headrace: …/b.py: is not there")
    assert not fits("headrace: /a/c.py: is not there", "headrace: …/b.py: is not there")


# -- the target -----------------------------------------------------------------------------------------------------


def run(shell: Shell, code: str) -> str:
    shell.write("functions.py", code)
    return shell.run("run", "--until-idle", code=1).stderr


@produces("No functions found")
def _(shell: Shell) -> str:
    return shell.run("run", code=1).stderr


@produces("The file is not there")
def _(shell: Shell) -> str:
    return shell.run("run", "nowhere.py", code=1).stderr


@produces("The module is not there")
def _(shell: Shell) -> str:
    return shell.run("run", "shop.functions", code=1).stderr


@produces("The code cannot be imported")
def _(shell: Shell) -> str:
    return run(shell, "import striped\n")


@produces("There is no function in it")
def _(shell: Shell) -> str:
    return run(shell, "x = 1\n")


@produces("No function of that name")
def _(shell: Shell) -> str:
    shell.write("functions.py", HEAD + '@function("orders")\ndef confirm_order(order: dict) -> None: ...\n')
    return shell.run("invoke", "functions.py::confirm", "{}", code=1).stderr


@produces("The app has no such function")
def _(shell: Shell) -> str:
    shell.write("functions.py", FINE)
    return shell.run("pause", "confrim", code=1).stderr


@produces("No code for a dry run")
def _(shell: Shell) -> str:
    return shell.run("dlq", "redrive", "confirm", "--all", "--dry-run", code=1).stderr


# -- the declaration ------------------------------------------------------------------------------------------------


@produces("An option that is none")
def _(shell: Shell) -> str:
    return run(shell, HEAD + '@function("orders", timout=3)\ndef confirm(order: dict) -> None: ...\n')


@produces("An option that is not built yet")
def _(shell: Shell) -> str:
    return run(shell, HEAD + '@function("orders", on_exhausted="park-key")\ndef confirm(order: dict) -> None: ...\n')


@produces("The event's data has no type")
def _(shell: Shell) -> str:
    return run(shell, HEAD + '@function("orders")\ndef confirm(order) -> None: ...\n')


@produces("Nobody takes what it returns")
def _(shell: Shell) -> str:
    model = "class EmailSent(BaseModel):\n    to: str\n\n\n"
    return run(shell, HEAD + model + '@function("orders")\ndef confirm(order: dict) -> EmailSent: ...\n')


@produces("A secret is missing")
def _(shell: Shell) -> str:
    secret = 'sandbox=Sandbox(secrets=["SMTP_URL"])'
    return run(shell, HEAD + f'@function("orders", {secret})\ndef confirm(order: dict) -> None: ...\n')


# -- settings -------------------------------------------------------------------------------------------------------


def lag_with(shell: Shell, settings: str) -> str:
    shell.write("headrace.toml", settings)
    return shell.run("lag", code=1).stderr


@produces("There is no such setting")
def _(shell: Shell) -> str:
    return lag_with(shell, 'brokr = "sqlite:log.db"\n')


@produces("There is no such variable")
def _(shell: Shell) -> str:
    shell.environment["HEADRACE_BROKR"] = "sqlite:log.db"
    return shell.run("lag", code=1).stderr


@produces("A setting has a wrong value")
def _(shell: Shell) -> str:
    return lag_with(shell, 'drain = "soon"\n')


@produces("The file is not TOML")
def _(shell: Shell) -> str:
    return lag_with(shell, "app = shop\n")


@produces("The settings are no file")
def _(shell: Shell) -> str:
    (shell.folder / "headrace.toml").mkdir()
    return shell.run("lag", code=1).stderr


@produces("The app needs a name")
def _(shell: Shell) -> str:
    return shell.run("run", "--broker", "kafka://localhost:9092", code=1).stderr


# -- the broker -----------------------------------------------------------------------------------------------------

FINE = HEAD + '@function("orders")\ndef confirm(order: dict) -> None: ...\n'


@produces("The URL names no broker")
def _(shell: Shell) -> str:
    return shell.run("tail", "orders", "--broker", "localhost:9092", code=1).stderr


@produces("The log is one in memory")
def _(shell: Shell) -> str:
    return shell.run("emit", "orders", "{}", "--broker", "memory:", code=1).stderr


@produces("Kafka cannot be reached")
def _(shell: Shell) -> str:
    return shell.run("tail", "orders", "--broker", "kafka://localhost:1", code=1).stderr


@produces("The group has members")
def _(shell: Shell) -> str:
    shell.write("functions.py", FINE)
    with shell.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        return shell.run("reset", "confirm", "--to", "earliest", "--yes", code=1).stderr


@produces("Another program holds the log")
def _(shell: Shell) -> str:
    shell.run("emit", "orders", "{}", "--broker", "sqlite:log.db")
    other = sqlite3.connect(shell.folder / "log.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        return shell.run("emit", "orders", "{}", "--broker", "sqlite:log.db", code=1).stderr
    finally:
        other.close()


@produces("The log may not be written")
def _(shell: Shell) -> str:
    shell.run("emit", "orders", "{}", "--broker", "sqlite:log.db")
    if os.getuid() != 0:
        shell.folder.chmod(0o500)
        return shell.run("lag", "--broker", "sqlite:log.db", code=1).stderr
    return _lag_as_nobody(shell.folder / "log.db")


def _lag_as_nobody(log: Path) -> str:
    """Root may write everywhere, so somebody else asks; modules are loaded before, which nobody could read."""
    program = (
        "import os, sys, headrace.cli, headrace.cli.lag, headrace.compose, headrace.runtime.progress\n"
        "os.chdir('/'); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(headrace.cli.cli(['lag', '--broker', 'sqlite:' + sys.argv[1]]))"
    )
    command = [sys.executable, "-c", program, str(log)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@produces("The log cannot lie there")
def _(shell: Shell) -> str:
    return shell.run("emit", "orders", "{}", "--broker", "sqlite:/proc/x/log.db", code=1).stderr


@produces("The file is no log")
def _(shell: Shell) -> str:
    shell.write("log.db", "this is a text, and quite a long one, not a database at all\n" * 20)
    return shell.run("tail", "orders", "--broker", "sqlite:log.db", code=1).stderr


@produces("The log is newer than this headrace")
def _(shell: Shell) -> str:
    shell.run("emit", "orders", "{}", "--broker", "sqlite:log.db")
    log = sqlite3.connect(shell.folder / "log.db")
    with log:
        log.execute("UPDATE meta SET v = 1000 WHERE k = 'schema'")
    log.close()
    return shell.run("tail", "orders", "--broker", "sqlite:log.db", code=1).stderr


@produces("The topic is not there")
def _(shell: Shell) -> str:
    shell.run("emit", "orders", "{}")
    return shell.run("tail", "order", code=1).stderr


@produces("The topic's name cannot be one")
def _(shell: Shell) -> str:
    return shell.run("emit", "or ders", "{}", code=1).stderr


# -- events ---------------------------------------------------------------------------------------------------------


@produces("The data is not JSON")
def _(shell: Shell) -> str:
    return shell.run("emit", "orders", "hello", code=1).stderr


def log_of(shell: Shell, code: str, data: str) -> str:
    shell.write("functions.py", HEAD + code)
    shell.run("emit", "orders", data)
    return shell.run("run", "--until-idle").stderr


@produces("The data does not fit the type")
def _(shell: Shell) -> str:
    model = "class Order(BaseModel):\n    order_id: str\n    total: float\n\n\n"
    return log_of(shell, model + '@function("orders")\ndef confirm(order: Order) -> None: ...\n', '{"order_id": 1}')


@produces("The topic was not declared")
def _(shell: Shell) -> str:
    body = 'def confirm(order: dict, ctx: Context) -> None:\n    ctx.emit("audit", order)\n'
    return log_of(shell, f'@function("orders")\n{body}', "{}")


@produces("The handler took too long")
def _(shell: Shell) -> str:
    body = "def confirm(order: dict, ctx: Context) -> None:\n    while ctx.attempt == 1: pass\n"
    return log_of(shell, f'@function("orders", timeout=0.2)\n{body}', "{}")


@produces("The worker crashed")
def _(shell: Shell) -> str:
    body = "def confirm(order: dict, ctx: Context) -> None:\n    import os\n    if ctx.attempt == 1: os._exit(3)\n"
    return log_of(shell, f'@function("orders")\n{body}', "{}")


# -- the command line -----------------------------------------------------------------------------------------------


@produces("No such command")
def _(shell: Shell) -> str:
    return shell.run("runn", code=2).stderr


def line(shell: Shell, text: str) -> str:
    """What a line for a shell, in which `$H` is headrace, says as it fails."""
    shell.environment["H"] = f"{sys.executable} -m headrace"
    command = ["bash", "-c", text]
    ended = subprocess.run(command, cwd=shell.folder, env=shell.env, text=True, capture_output=True, check=False)
    assert ended.returncode == 1
    return ended.stderr


@produces("The output is not taken")
def _(shell: Shell) -> str:
    return line(shell, "$H emit orders 1 > /dev/full")


@produces("The folder is not there any more")
def _(shell: Shell) -> str:
    return line(shell, "mkdir gone; cd gone; rmdir ../gone; $H lag")


@produces("No process can be started")
def _(shell: Shell) -> str:
    shell.write("functions.py", HEAD + '@function("orders")\ndef confirm(order: dict) -> None: ...\n')
    return line(shell, "ulimit -f 0; $H functions")
