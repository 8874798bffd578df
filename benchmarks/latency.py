"""How long an event takes from `emit` to the end of its handler, on the embedded log, through an isolated worker.

    python benchmarks/latency.py [--rate N] [--seconds N] [--runs N] [--json]

A producer in a process of its own emits `rate` events a second, each with the moment `emit` was called; the handler
emits how old each one was when it was handled. Quantiles in milliseconds, medians over the runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from headrace import connect
from headrace.compose import engine_of, open_store, workshop
from headrace.runtime.settings import Settings

HANDLER = """
import time
from pydantic import BaseModel
from headrace import function

class Moment(BaseModel):
    at_ns: int

class Age(BaseModel):
    ns: int

@function("moments", emits={"ages": Age}, workers=1)
def handle(moment: Moment) -> Age:
    return Age(ns=time.monotonic_ns() - moment.at_ns)
"""


async def produce(url: str, rate: int, count: int) -> None:
    """Emit on a fixed schedule, however long each emit takes: a slow log must not slow the load."""
    loop = asyncio.get_running_loop()
    async with connect(url) as log:
        started = loop.time()
        emits = [loop.create_task(emit_at(log, started + n / rate, f"key-{n % 100}")) for n in range(count)]
        await asyncio.gather(*emits)


async def emit_at(log: object, when: float, key: str) -> None:
    await asyncio.sleep(when - asyncio.get_running_loop().time())
    await log.emit("moments", {"at_ns": time.monotonic_ns()}, key=key)  # type: ignore[attr-defined]


async def run(rate: int, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder, url = Path(name), f"sqlite:{name}/log.db"
        (folder / "functions.py").write_text(HANDLER)
        settings = Settings(app="bench", broker=url, target=str(folder / "functions.py"))
        async with workshop(settings, folder) as shop, open_store(settings, folder) as store:
            engine = engine_of(shop, store, [])
            await engine.open()
            arguments = [__file__, "--produce", url, "--rate", str(rate), "--count", str(count)]
            producer = await asyncio.create_subprocess_exec(sys.executable, *arguments)
            assert await producer.wait() == 0
            await engine.until_idle()
            ages: list[float] = []
            for partition in range(len((await store.topics())["ages"].bounds)):
                fetched = await store.read(("ages", partition), 0, count)
                ages += [json.loads(record.value or b"")["ns"] / 1e6 for record in fetched.records]
            await engine.close(5.0)
    assert len(ages) == count
    cuts = statistics.quantiles(ages, n=100)
    return {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(ages)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--produce", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = options.count or int(options.rate * options.seconds)
    if options.produce:
        asyncio.run(produce(options.produce, options.rate, count))
        return
    runs = [asyncio.run(run(options.rate, count)) for _ in range(options.runs)]
    medians = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    if options.json:
        print(json.dumps({"rate": options.rate, "events": count, "runs": runs, "median": medians}))
        return
    print(f"{options.rate} events/s, {count} events, median of {options.runs} runs")
    for name, value in medians.items():
        print(f"  {name:<8} {value:>8.2f}")


if __name__ == "__main__":
    main()
