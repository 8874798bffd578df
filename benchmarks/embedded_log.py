"""How fast the embedded log is beside the bare disk: python benchmarks/embedded_log.py [--json] [--directory DIR].

Appends are measured in slices that alternate with `write` + `fdatasync` of the same bytes, because a disk's speed
changes from minute to minute: only ratios within one run mean anything. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

from _log_processes import measure_bare_wakeup, measure_delayed, measure_sharing, measure_wakeup, spread

from headrace.runtime.ports import Append, Assigned, Partition, Ticket, TopicSpec
from headrace.sandbox.headers import pack
from headrace.triggers.brokers.sqlite import SqliteLog

HEADERS = pack([("ce_specversion", b"1.0"), ("ce_type", b"OrderPlaced"), ("content-type", b"application/json")])
VALUE = json.dumps({"order_id": "o-123456", "email": "somebody@example.org", "note": "x" * 110}).encode()
PRODUCERS = 256
LIMIT = 500


def records(count: int) -> list[Append]:
    return [Append("orders", -1, 0, b"customer-%02d" % (n % 50), VALUE, HEADERS) for n in range(count)]


class Group:
    """Seeks every partition to its start, once it may."""

    partitions: Sequence[Assigned] = ()

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        self.partitions = partitions

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Nothing to end."""


async def rate(seconds: float, step: Callable[[], Awaitable[int]]) -> float:
    """Records per second of `step` repeated for `seconds`."""
    begun, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < seconds:
        count += await step()
    return count / taken


async def measure_appends(log: SqliteLog, raw: int, batch: int, seconds: float, rounds: int) -> dict[str, float]:
    """Appends of `batch` records per commit, and the disk's own rate for the same bytes."""
    appends = records(batch)
    block = b"".join((append.key or b"") + VALUE + HEADERS for append in appends)

    async def ours() -> int:
        await log.append(appends)
        return batch

    async def bare() -> int:
        os.write(raw, block)
        os.fdatasync(raw)
        return batch

    pairs = [(await rate(seconds, ours), await rate(seconds, bare)) for _ in range(rounds)]
    return {
        "per_second": median(pair[0] for pair in pairs),
        "disk_per_second": median(pair[1] for pair in pairs),
        "ratio": median(pair[0] / pair[1] for pair in pairs),
    }


async def measure_group_commit(log: SqliteLog, seconds: float, rounds: int) -> dict[str, float]:
    """Single appends of `PRODUCERS` concurrent callers, of one alone, and of as many that may be made again."""
    one = records(1)
    number = itertools.count()

    async def append() -> None:
        await log.append(one)

    async def append_once() -> None:
        n = next(number)
        await log.append(one, ticket=Ticket("bench", n, max(0, n - PRODUCERS)))

    lags: list[float] = []
    runs = []
    for _ in range(rounds):
        watching = asyncio.create_task(watch_loop(lags))
        together = await callers(PRODUCERS, seconds, append)
        watching.cancel()
        runs.append((together, await callers(1, seconds, append), await callers(PRODUCERS, seconds, append_once)))
    return {
        "per_second": median(run[0] for run in runs),
        "alone_per_second": median(run[1] for run in runs),
        "ratio": median(run[0] / run[1] for run in runs),
        "tickets_ratio": median(run[2] / run[0] for run in runs),
        "loop_lag_p99_ms": spread(lags)["p99"],
    }


async def callers(number: int, seconds: float, step: Callable[[], Awaitable[None]]) -> float:
    """Steps per second of `number` callers at once, each with one after another for `seconds`."""
    begun = time.perf_counter()
    counts = [0] * number

    async def call(which: int) -> None:
        while time.perf_counter() - begun < seconds:
            await step()
            counts[which] += 1

    await asyncio.gather(*(call(which) for which in range(number)))
    return sum(counts) / (time.perf_counter() - begun)


async def watch_loop(lags: list[float]) -> None:
    """Note by how many milliseconds the loop comes late to what it is to do every 5."""
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append((time.perf_counter() - begun) * 1000 - 5)


async def measure_poll(log: SqliteLog, count: int) -> dict[str, float]:
    """Draining `count` records through `Member.poll`."""
    await log.ensure([TopicSpec("drain", 4)])
    small = [Append("drain", n % 4, 0, b"k", b"x" * 100, b"") for n in range(10_000)]
    for _ in range(count // len(small)):
        await log.append(small)
    group = Group()
    member = await log.join("bench.drain", ["drain"], group)
    for one in group.partitions:
        member.seek(one.partition, 0)
    begun, left = time.perf_counter(), count
    while left > 0:
        left -= sum(len(fetched.records) for fetched in await member.poll(LIMIT))
    taken = time.perf_counter() - begun
    await member.leave()
    return {"per_second": count / taken, "limit": LIMIT, "records": count}


async def measure(directory: Path, seconds: float, rounds: int, drained: int) -> dict[str, dict[str, float]]:
    log = await SqliteLog.open(directory / "log.db")
    gc.collect()
    gc.freeze()  # as `headrace run` does
    raw = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        await log.ensure([TopicSpec("orders", 4)])
        results = {
            f"append, {batch} per commit": await measure_appends(log, raw, batch, seconds, rounds)
            for batch in (1, 10, 100, 1000)
        }
        results[f"append, {PRODUCERS} callers at once"] = await measure_group_commit(log, seconds, rounds)
        results[f"poll({LIMIT})"] = await measure_poll(log, drained)
        results["wake-up, bare FIFO"] = await measure_bare_wakeup(directory / "fifo", 300)
        for mode, count in (("bell", 300), ("none", 60), ("removed", 30)):
            results[f"wake-up, {mode}"] = await measure_wakeup(log, mode, count)
    finally:
        os.close(raw)
        await log.close()
    for producers in (1, 64):
        results[f"3 writers, {producers} each"] = await measure_sharing(log.path, producers, 3.0)
    results["1,500 timers in 2.5 s"] = await measure_delayed(directory / "timers.db", 1500, 2.5)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--directory", help="where to write, to measure another disk (default: a temporary one)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one slice")
    parser.add_argument("--rounds", type=int, default=5, help="slices of each kind")
    parser.add_argument("--drain", type=int, default=1_000_000, help="records to drain through poll")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        results = asyncio.run(measure(Path(directory), options.seconds, options.rounds, options.drain))
    if options.json:
        print(json.dumps(results))
        return
    for name, figures in results.items():
        print(f"{name:32}", "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
