"""A storm: the runtime, its workers and its zygote are killed at random, over a stream with failures and timeouts."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

from harness import Shell, children_of

ORDERS = 5000
KEYS = 60
KILLS = ["runtime"] * 13 + ["worker"] * 8 + ["zygote"] * 4
ATTEMPTS = 6

FUNCTIONS = """
import os, time
from pydantic import BaseModel
from headrace import Context, Reject, Retry, function

class Order(BaseModel):
    n: int

class EmailSent(BaseModel):
    n: int
    attempt: int

STARTS = os.open("STARTS_FILE", os.O_WRONLY | os.O_APPEND)

@function("orders", emits={"emails": EmailSent}, retry=Retry(attempts=6, delay=0.05), timeout=2.0)
def confirm(order: Order, ctx: Context) -> EmailSent:
    os.write(STARTS, f"{order.n} {ctx.attempt}\\n".encode())
    time.sleep(0.002)
    if order.n % 307 == 5:
        raise Reject("not this one")
    if order.n % 97 == 3 and ctx.attempt == 1:
        raise ValueError("not yet")
    if order.n % 1999 == 7 and ctx.attempt == 1:
        time.sleep(60)
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""


class Storm:
    """The stream, the runtime under fire, and what is known of both."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.starts_file = shell.write("starts", "")
        shell.write("functions.py", FUNCTIONS.replace("STARTS_FILE", str(self.starts_file)))
        self.log = shell.folder / ".headrace" / "log.db"

    def starts(self) -> list[tuple[int, int]]:
        """(order, attempt) of each start, in order."""
        return [(int(n), int(attempt)) for n, attempt in map(str.split, self.starts_file.read_text().splitlines())]

    def wait_for_starts(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.starts_file.read_bytes().count(b"\n") < count:
            assert time.monotonic() < deadline, "the stream stands still"
            os.sched_yield()

    def settled(self) -> set[int]:
        """Orders whose outcome is in the log. Read beside the turnstile: a stopped runtime may hold it."""
        log = sqlite3.connect(f"file:{self.log}?mode=ro", uri=True)
        try:
            values = log.execute(
                "SELECT v FROM record JOIN part ON part.tp = record.id >> 40 JOIN topic ON topic.id = part.topic "
                "WHERE topic.name IN ('emails', 'shop.confirm.dlt')"
            ).fetchall()
        finally:
            log.close()
        return {json.loads(value)["n"] for (value,) in values}


def family(runtime: int) -> tuple[int, list[int]]:
    """The zygote and the workers of a runtime; 0 and none where there are none at the moment."""
    zygote = next(iter(children_of(runtime)), 0)
    return zygote, children_of(zygote) if zygote else []


def strike(target: str, runtime: subprocess.Popen[str]) -> bool:
    """Kill it, or what it would be a part of if it is not there; whether that was the runtime."""
    zygote, workers = family(runtime.pid)
    named = {"runtime": runtime.pid, "zygote": zygote, "worker": workers[0] if workers else zygote}[target]
    victim = named or runtime.pid  # nought would be all of ours
    os.kill(victim, signal.SIGKILL)
    return victim == runtime.pid


def test_a_storm_of_kills_loses_nothing_doubles_nothing_and_keeps_the_order_of_each_key(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    shell = Shell(tmp_path / "shop")
    storm = Storm(shell)
    lines = "".join(json.dumps({"n": n, "key": f"k{n % KEYS}"}) + "\n" for n in range(ORDERS))
    shell.run("emit", "orders", "-", "--key-field", "key", stdin=lines)

    dice = random.Random(4)
    targets = dice.sample(KILLS, len(KILLS))
    hits = at = 0
    while targets:
        with shell.start("run", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as runtime:
            while targets:
                at += dice.randrange(60, 260)
                storm.wait_for_starts(min(at, len(storm.starts()) + 260))
                runtime.send_signal(signal.SIGSTOP)  # so that what is in flight can be counted
                hits += bool({n for n, _ in storm.starts()} - storm.settled())
                if strike(targets.pop(), runtime):
                    break
                runtime.send_signal(signal.SIGCONT)
    shell.run("run", "--until-idle")

    assert hits >= 20, f"only {hits} of {len(KILLS)} kills came with events in flight"
    emails = shell.tail("emails")
    rejected = {n for n in range(ORDERS) if n % 307 == 5}
    assert Counter(event["data"]["n"] for event in emails) == Counter(set(range(ORDERS)) - rejected)
    assert Counter(letter["data"]["n"] for letter in shell.tail("shop.confirm.dlt")) == Counter(rejected)
    by_key: dict[str, list[int]] = defaultdict(list)
    for event in emails:
        by_key[event["key"]].append(event["data"]["n"])
    assert all(numbers == sorted(numbers) for numbers in by_key.values())

    starts = storm.starts()
    assert max(attempt for _, attempt in starts) <= ATTEMPTS
    charged = dict.fromkeys(range(ORDERS), 0)
    for n, attempt in starts:
        charged[n] = max(charged[n], attempt)
    most = max(count - charged[n] for n, count in Counter(n for n, _ in starts).items())
    assert most <= len(KILLS) - KILLS.count("worker"), "starts beyond attempts come from unclean deaths only"
    expected = Counter(attempt for n, attempt in charged.items() if n % 97 != 3 and n % 1999 != 7)
    assert expected.total() - expected[1] <= KILLS.count("worker"), "only the event under a killed worker is charged"


POISON = """
import asyncio, os
from pydantic import BaseModel
from headrace import Context, Retry, function

class Order(BaseModel):
    n: int

class Handled(BaseModel):
    n: int
    attempt: int

@function("orders", emits={"handled": Handled}, retry=Retry(attempts=2, delay=0.0), timeout=20.0, concurrency=50)
async def handle(order: Order, ctx: Context) -> Handled:
    await asyncio.sleep(0.002)
    if order.n % 50 == 25:
        os._exit(9)
    await asyncio.sleep(0.002)
    return Handled(n=order.n, attempt=ctx.attempt)
"""


def test_innocents_among_fifty_at_once_are_never_charged_over_two_hundred_crashes(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    shell = Shell(tmp_path / "shop")
    shell.write("functions.py", POISON)
    count = 4300
    lines = "".join(json.dumps({"n": n, "key": f"k{n}"}) + "\n" for n in range(count))
    shell.run("emit", "orders", "-", "--key-field", "key", stdin=lines)
    log = shell.run("run", "--until-idle", "--json").stderr
    crashes = sum(json.loads(line)["event"] == "a worker died" for line in log.splitlines())
    poison = {n for n in range(count) if n % 50 == 25}
    assert crashes >= 200
    handled = Counter((event["data"]["n"], event["data"]["attempt"]) for event in shell.tail("handled"))
    assert handled == Counter((n, 1) for n in range(count) if n not in poison)
    letters = shell.tail("shop.handle.dlt")
    assert Counter(letter["data"]["n"] for letter in letters) == Counter(poison)
    assert {letter["headers"]["headrace-error-type"] for letter in letters} == {"WorkerCrashed"}
    assert {letter["headers"]["headrace-attempt"] for letter in letters} == {"2"}
