"""How much memory a runtime takes: with a long backlog, and with nothing to do."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import pytest
from fault.kafka_watch import wait_for
from fault.soak_results import SOAK, keep
from harness import Shell, children_of

from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog

BACKLOG = 1_000_000 if SOAK else 100_000
MEGABYTE = 1 << 20

FUNCTIONS = """
from headrace import function

@function("orders", workers=1, timeout=60.0)
def handle(order: dict) -> None:
    pass
"""

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc"),
    pytest.mark.timeout(1800 if BACKLOG > 100_000 else 600),
]


@pytest.fixture
def shop(tmp_path: Path) -> Shell:
    folder = tmp_path / "shop"
    folder.mkdir()
    shell = Shell(folder)
    shell.write("functions.py", FUNCTIONS)
    return shell


def value_of(path: Path, name: str) -> int:
    """A figure of a file in /proc, in bytes."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{path} has no {name}")


def family_of(pid: int) -> list[int]:
    return [pid, *(member for child in children_of(pid) for member in family_of(child))]


def until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    assert any(words in line for line in iter(process.stderr.readline, ""))


async def fill(path: Path, count: int) -> None:
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("orders", 4)])
    data = json.dumps(
        {"order_id": "o-123456", "email": "someone@example.com", "total": 12.5, "note": "x" * 80}
    ).encode()
    for first in range(0, count, 5000):
        await log.append([Append("orders", -1, 0, b"k%d" % n, data, b"") for n in range(first, first + 5000)])
    await log.close()


async def caught_up(path: Path) -> None:
    log = await SqliteLog.open(path)
    done = False
    while not done:
        lags = await log.lag("shop.")
        done = len(lags) == 4 and all(lag.committed == lag.end for lag in lags)
        await log.changed(0.5)
    await log.close()


def test_the_parent_stays_small_whatever_the_backlog(shop: Shell) -> None:
    path = shop.folder / ".headrace" / "log.db"
    asyncio.run(fill(path, BACKLOG))
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        until(runtime, "serving")
        asyncio.run(caught_up(path))
        peak = value_of(Path(f"/proc/{runtime.pid}/status"), "VmHWM")
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(60) == 0
    print(f"parent's peak with {BACKLOG:,} events: {peak / MEGABYTE:.0f} MiB")
    keep("backlog of the embedded log", events=BACKLOG, peak_mib=round(peak / MEGABYTE))
    assert peak < 250 * MEGABYTE


def test_parent_zygote_and_an_idle_worker_are_small_together(shop: Shell) -> None:
    shop.run("emit", "orders", "{}")
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        until(runtime, "serving")
        asyncio.run(caught_up_one(shop.folder / ".headrace" / "log.db"))
        wait_for(lambda: len(family_of(runtime.pid)) == 3, "parent, zygote and worker to be alone")
        family = family_of(runtime.pid)
        resident = [value_of(Path(f"/proc/{pid}/status"), "VmRSS") for pid in family]
        proportional = [value_of(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in family]
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(60) == 0
    for name, sizes in (("resident", resident), ("proportional", proportional)):
        keep("parent, zygote and an idle worker", kind=name, mib=round(sum(sizes) / MEGABYTE))
        print(name, [f"{size / MEGABYTE:.0f}" for size in sizes], f"{sum(sizes) / MEGABYTE:.0f} MiB")
    # Proportional: pages that several share (the interpreter, libraries, the zygote's in the worker) are counted once.
    assert sum(proportional) < sum(resident) < 150 * MEGABYTE


async def caught_up_one(path: Path) -> None:
    log = await SqliteLog.open(path)
    while not any(lag.committed == lag.end == 1 for lag in await log.lag("shop.")):
        await log.changed(0.5)
    await log.close()
