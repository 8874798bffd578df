"""What the hop to a worker process costs: start, one event there and back, events per second in chunks.

The handler does nothing with a pydantic model, so what is measured is headrace. `validate_us` is what pydantic takes
for the same bytes, alone and in this process: no handler of this payload can be faster.

    python benchmarks/workers.py [--chunks 300] [--size 200] [--starts 20] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import timeit
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from headrace.sandbox.process import Death, Line, Worker, WorkerSpec, Zygote
from headrace.sandbox.target import find_target
from headrace.sandbox.wire import Chunk, Report, Task

SOURCE = """
from pydantic import BaseModel
from headrace import function
class Order(BaseModel):
    order_id: str
    total: float
@function("orders")
def sync_noop(order: Order) -> None: ...
@function("orders")
async def async_noop(order: Order) -> None: ...
"""
VALUE = b'{"order_id":"order-1","total":12.5}'


class Order(BaseModel):
    order_id: str
    total: float


class Counter:
    """Counts outcomes, and tells when all have come."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    def reported(self, _worker: Worker, report: Report) -> None:
        self.left -= len(report.outcomes)
        if self.left <= 0:
            self.done.set()

    def died(self, _worker: Worker, death: Death) -> None:
        if death.reason != "stopped":
            raise RuntimeError(death)

    def said(self, _worker: Worker, lines: Sequence[Line]) -> None: ...

    async def run(self, worker: Worker, chunks: Sequence[Chunk]) -> float:
        self.left, self.done = sum(len(chunk.tasks) for chunk in chunks), asyncio.Event()
        started = time.perf_counter()
        for chunk in chunks:
            worker.send(chunk)
        await self.done.wait()
        return time.perf_counter() - started


async def measure(chunks: int, size: int, starts: int) -> dict[str, Any]:
    result: dict[str, Any] = {"validate_us": validation_us(50_000)}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "functions.py").write_text(SOURCE)
        target = find_target(None, Path(folder))
        async with Zygote() as zygote:
            manifest = await zygote.read_manifest(target, "bench")
            for function in manifest.functions:
                spec = WorkerSpec(target, function, "bench", "bench", {}, {})
                result[function.name] = await measure_one(zygote, spec, chunks, size, starts)
    return result


async def measure_one(zygote: Zygote, spec: WorkerSpec, chunks: int, size: int, starts: int) -> dict[str, float]:
    counter, start_ms = Counter(), []
    for _ in range(starts):
        started = time.perf_counter()
        worker = await zygote.spawn(spec, counter)
        start_ms.append((time.perf_counter() - started) * 1e3)
        await worker.stop(5)
    worker = await zygote.spawn(spec, counter)
    tasks = [Task(n, 0, b"customer-%d" % (n % 40), VALUE, b"") for n in range(size)]
    numbers = iter(range(1, 1 << 60))
    rounds = [[Chunk(next(numbers), "o", 0, tasks) for _ in range(chunks)] for _ in range(5)]
    best = min([await counter.run(worker, sent) for sent in rounds])
    trips = [await counter.run(worker, [Chunk(next(numbers), "o", 0, tasks[:1])]) for _ in range(2000)]
    await worker.stop(5)
    return {
        "start_p50_ms": round(statistics.median(start_ms), 2),
        "events_per_s": round(chunks * size / best),
        "us_per_event": round(best / (chunks * size) * 1e6, 2),
        "round_trip_p50_us": round(statistics.median(trips) * 1e6, 1),
    }


def validation_us(times: int) -> float:
    return round(min(timeit.repeat(lambda: Order.model_validate_json(VALUE), number=times)) / times * 1e6, 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("--chunks", 300), ("--size", 200), ("--starts", 20)):
        parser.add_argument(option, type=int, default=default)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.chunks, given.size, given.starts)), indent=None if given.json else 2))
