"""The embedded log between processes: how soon one is woken by another, how they share it, how late timers are."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

from headrace.runtime.ports import Append, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog, writer

_LISTEN = """
import asyncio, os, sys, time
from headrace.triggers.brokers.sqlite import SqliteLog

def refuse(*_):
    raise PermissionError(1, "no bells here")

async def main(path, mode):
    if mode == "none":
        os.mkfifo = refuse
    log = await SqliteLog.open(path)
    offset = (await log.topics())["wake"].bounds[0].end
    print("ready", flush=True)
    while True:
        if (await log.read(("wake", 0), offset, 1)).records:
            offset += 1
            print(time.monotonic_ns(), flush=True)
        else:
            await log.changed(60)

asyncio.run(main(*sys.argv[1:]))
"""

_HEAR = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
print("ready", flush=True)
while os.read(file, 1):
    print(time.monotonic_ns(), flush=True)
"""

_WRITE = """
import asyncio, sys, time
from headrace.runtime.ports import Append
from headrace.triggers.brokers.sqlite import SqliteLog

async def main(path, producers, seconds):
    log = await SqliteLog.open(path)
    count, one = 0, [Append("orders", -1, 0, b"key", b"x" * 200, b"")]
    async def produce(end):
        nonlocal count
        while time.monotonic() < end:
            await log.append(one)
            count += 1
    await log.append(one)
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + float(seconds)
    await asyncio.gather(*(produce(end) for _ in range(int(producers))))
    await log.close()
    print(count, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def spread(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and the largest."""
    return {"p50": median(values), "p99": quantiles(values, n=100, method="inclusive")[98], "max": max(values)}


async def measure_wakeup(log: SqliteLog, mode: str, count: int) -> dict[str, float]:
    """Milliseconds from the return of COMMIT to the record in another process's hand.

    `mode`: with a "bell", where there can be "none", or with the bells "removed" just before each commit.
    """
    await log.ensure([TopicSpec("wake", 1)])
    committed = _noting_commits()
    run = log.path.with_name(f"{log.path.name}.run")
    taken = []
    with _started(_LISTEN, log.path, mode) as listener:
        for _ in range(count):
            await asyncio.sleep(0.02 + random.random() * 0.05)
            if mode == "removed":
                shutil.rmtree(run, ignore_errors=True)
            await log.append([Append("wake", 0, 0, None, b"x", b"")])
            heard = int(await asyncio.to_thread(listener.stdout.readline))
            taken.append((heard - committed[-1]) / 1e6)
        listener.kill()
    return {f"{name}_ms": value for name, value in spread(taken).items()}


async def measure_bare_wakeup(fifo: Path, count: int) -> dict[str, float]:
    """The same for a byte through a FIFO to a process that does nothing but read it: what the machine itself takes."""
    os.mkfifo(fifo)
    taken = []
    with _started(_HEAR, fifo) as listener:
        file = os.open(fifo, os.O_WRONLY)
        for _ in range(count):
            await asyncio.sleep(0.02 + random.random() * 0.05)
            begun = time.monotonic_ns()
            os.write(file, b"x")
            taken.append((int(await asyncio.to_thread(listener.stdout.readline)) - begun) / 1e6)
        os.close(file)
        listener.kill()
    return {f"{name}_ms": value for name, value in spread(taken).items()}


async def measure_sharing(path: Path, producers: int, seconds: float) -> dict[str, float]:
    """Three processes that append without pause: appends per second of all, and of the slowest beside the fastest."""
    writers = [_started(_WRITE, path, producers, seconds) for _ in range(3)]
    for process in writers:
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = [int(process.communicate()[0]) for process in writers]
    return {"per_second": sum(counts) / seconds, "slowest_to_fastest": min(counts) / max(counts)}


async def measure_delayed(path: Path, timers: int, seconds: float) -> dict[str, float]:
    """Milliseconds by which timers are late, with two processes that have the log open."""
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("timers", 4), TopicSpec("wake", 1)])
    with _started(_LISTEN, path, "bell") as other:
        begin = time.time_ns() // 1_000_000 + 500
        dues = [begin + int(random.random() * seconds * 1000) for _ in range(timers)]
        await log.append([Append("timers", n % 4, due, None, b"x", b"", due) for n, due in enumerate(dues)])
        while sum(bounds.end for bounds in (await log.topics())["timers"].bounds) < timers:
            await log.changed(1)
        other.kill()
    await log.close()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as plain:
        late = [float(ats - ts) for ats, ts in plain.execute("SELECT ats, ts FROM record WHERE ts > 0")]
    return {**{f"{name}_ms": value for name, value in spread(late).items()}, "early": sum(ms < 0 for ms in late)}


def _noting_commits() -> list[int]:
    """The times at which COMMIT returned in this process, from now on."""
    times: list[int] = []
    transact = writer.Writer._transact

    def noting(self: writer.Writer, jobs: list[writer._Job]) -> bytes:
        news = transact(self, jobs)
        times.append(time.monotonic_ns())
        return news

    writer.Writer._transact = noting  # type: ignore[method-assign,assignment]
    return times


def _started(script: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
