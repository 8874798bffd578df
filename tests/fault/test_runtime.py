"""The runtime with its processes killed, paused functions, and what `--until-idle` says of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from harness import Shell, children_of

from headrace.runtime.progress import Progress
from headrace.triggers.brokers.sqlite import SqliteLog

SLOW = """
import os
from pydantic import BaseModel
from headrace import Context, Retry, function

class Order(BaseModel):
    id: int

class Handled(BaseModel):
    id: int
    attempt: int
    worker: int

@function("orders", emits={"handled": Handled}, retry=Retry(attempts=3, delay=0.05), timeout=20.0)
def handle(order: Order, ctx: Context) -> Handled:
    print("begun", order.id, "in", os.getpid(), flush=True)
    if order.id == 13:
        os.kill(os.getpid(), 9)
    if order.id == 7:
        open("PIPE").read()
    return Handled(id=order.id, attempt=ctx.attempt, worker=os.getpid())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shell:
    folder = tmp_path / "shop"
    folder.mkdir()
    os.mkfifo(folder / "gate")
    shell = Shell(folder)
    shell.write("functions.py", SLOW.replace("PIPE", str(folder / "gate")))
    return shell


def lines_until(runtime: subprocess.Popen[str], words: str) -> str:
    assert runtime.stderr is not None
    for line in iter(runtime.stderr.readline, ""):
        if words in line:
            return line
    raise AssertionError(f"{words!r} never came")


def emit(shell: Shell, ids: list[int]) -> None:
    lines = "".join(json.dumps({"id": n}) + "\n" for n in ids)
    shell.run("emit", "orders", "-", "--key-field", "id", stdin=lines)


def test_a_worker_killed_under_an_event_costs_that_event_an_attempt_and_nobody_else(shop: Shell) -> None:
    emit(shop, [*range(7), 7, *range(8, 13)])
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        begun = lines_until(runtime, "begun 7 ")
        os.kill(int(begun.split(" in ")[1].split()[0]), signal.SIGKILL)
        lines_until(runtime, "begun 7 ")
        (shop.folder / "gate").write_text("open")
        with shop.start("tail", "handled", "--from", "earliest", "-n", "13", stdout=subprocess.DEVNULL) as tail:
            assert tail.wait(60) == 0
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(90) == 0
    attempts = {event["data"]["id"]: event["data"]["attempt"] for event in shop.tail("handled")}
    assert attempts == {n: 2 if n == 7 else 1 for n in range(13)}


def test_a_killed_zygote_is_replaced_and_nothing_is_charged(shop: Shell) -> None:
    emit(shop, [1, 2, 7, 8])
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        lines_until(runtime, "begun 7 ")
        (zygote,) = children_of(runtime.pid)
        os.kill(zygote, signal.SIGKILL)
        lines_until(runtime, "begun 7 ")
        (shop.folder / "gate").write_text("open")
        with shop.start("tail", "handled", "--from", "earliest", "-n", "4", stdout=subprocess.DEVNULL) as tail:
            assert tail.wait(60) == 0
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(90) == 0
    assert Counter((event["data"]["id"], event["data"]["attempt"]) for event in shop.tail("handled")) == Counter(
        [(1, 1), (2, 1), (7, 1), (8, 1)]
    )


def test_an_event_that_kills_its_worker_each_time_is_dead_lettered_and_its_neighbours_are_not_charged(
    shop: Shell,
) -> None:
    emit(shop, [n for n in range(40) if n != 7])
    shop.run("run", "--until-idle")
    attempts = {event["data"]["id"]: event["data"]["attempt"] for event in shop.tail("handled")}
    assert attempts == {n: 1 for n in range(40) if n not in {7, 13}}
    (letter,) = shop.tail("shop.handle.dlt")
    assert letter["data"] == {"id": 13}
    assert (letter["headers"]["headrace-error-type"], letter["headers"]["headrace-attempt"]) == ("WorkerCrashed", "3")


async def charged(shell: Shell, failures: int) -> None:
    """Wait until that many failures of the first event are in the log."""
    async with asyncio.timeout(60):
        store = await SqliteLog.open(shell.folder / ".headrace" / "log.db")
        try:
            while all(
                Progress.restore(of.committed, of.progress).failures(0) < failures for of in await store.lag("shop.")
            ):
                await store.changed(0.1)
        finally:
            await store.close()


async def test_attempts_are_bounded_across_kill_nine_of_the_runtime(shop: Shell) -> None:
    shop.write(
        "functions.py",
        "from headrace import function, Retry, Context\n"
        '@function("orders", retry=Retry(attempts=4, delay=5.0, factor=1.0, jitter="none"))\n'
        "def fail(order: dict, ctx: Context) -> None:\n"
        '    print("this is attempt", ctx.attempt, flush=True)\n'
        '    raise ValueError("always")\n',
    )
    shop.run("emit", "orders", "{}")
    for attempt in (1, 2, 3):
        with shop.start("run", stderr=subprocess.PIPE) as runtime:
            assert f"this is attempt {attempt}" in lines_until(runtime, "this is attempt")
            await charged(shop, attempt)
            runtime.send_signal(signal.SIGKILL)
    log = shop.run("run", "--until-idle").stderr
    assert log.count("this is attempt") == 1
    assert "this is attempt 4" in log
    (letter,) = shop.tail("shop.fail.dlt")
    assert letter["headers"]["headrace-attempt"] == "4"


def test_a_function_that_cannot_start_is_paused_and_until_idle_says_so(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "import os\n"
        "from headrace import function, Sandbox\n"
        'if os.environ.get("STOCK"):\n'
        '    raise RuntimeError("no stock today")\n'
        '@function("orders", sandbox=Sandbox(env=["STOCK"]))\n'
        "def stock(order: dict) -> None: ...\n"
        '@function("orders")\n'
        "def other(order: dict) -> None: ...\n",
    )
    shell.environment["STOCK"] = "1"
    shell.run("emit", "orders", "{}")
    refused = shell.run("run", "--until-idle", code=1)
    assert "not idle: stock:" in refused.stderr
    assert "no stock today" in refused.stderr
    lag = {row["function"]: 0 for row in shell.json("lag")}
    for row in shell.json("lag"):
        lag[row["function"]] += row["lag"]
    assert lag["stock"] == 1
    assert shell.tail("shop.stock.dlt") == []


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "shop"
    folder.mkdir()
    return Shell(folder)
