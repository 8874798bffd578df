"""Drain a topic of the embedded log through isolated workers, beside raw fetch and raw append of the same log.

    python benchmarks/drain.py [--events N] [--runs N] [--json]

Each run makes a fresh log of N order events (about 200 bytes, 5,000 keys) and measures, one after another in the same
run: fetching all of it (no handler), a no-op handler, a handler that emits one event, and appending N events 100 at a
time. Rates are from when the worker is up to the last event settled. CPU is that of all processes for each event, the
workers' start with it. Medians over the runs; compare ratios, not single figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.compose import engine_of, open_store, workshop
from headrace.functions import cloudevents
from headrace.runtime.ports import Append, Assigned, Partition, Store, TopicSpec
from headrace.runtime.settings import Settings
from headrace.sandbox.headers import pack

HANDLERS = """
from pydantic import BaseModel
from headrace import function

class Item(BaseModel):
    sku: str
    quantity: int

class OrderPlaced(BaseModel):
    order_id: int
    customer: str
    total: float
    items: list[Item]

class Confirmed(BaseModel):
    order_id: int
    customer: str

@function("orders", **{options})
def handle(order: OrderPlaced){returns}:
    {body}
"""
NO_OP = (
    HANDLERS.replace("{options}", '{"workers": 1, "start": "earliest"}')
    .replace("{returns}", "")
    .replace("{body}", "pass")
)
ONE_EMIT = (
    HANDLERS.replace("{options}", '{"workers": 1, "start": "earliest", "emits": {"confirmed": Confirmed}}')
    .replace("{returns}", " -> Confirmed")
    .replace("{body}", "return Confirmed(order_id=order.order_id, customer=order.customer)")
)


def order(number: int) -> Append:
    customer = f"customer-{number % 5000}"
    items = [{"sku": f"sku-{number % 97}", "quantity": 1 + number % 5}, {"sku": "sku-1", "quantity": 2}]
    document = {"order_id": number, "customer": customer, "total": number / 7, "items": items}
    headers = cloudevents.write(id=f"o{number}", source="/bench", type="OrderPlaced", content_type="application/json")
    return Append("orders", -1, 1_700_000_000_000, customer.encode(), json.dumps(document).encode(), pack(headers))


class Alone:
    """A consumer that only fetches."""

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        self.partitions = [one.partition for one in partitions]

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        _ = partitions


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


async def fill(store: Store, events: int, topic: str = "orders") -> float:
    """Append the events 100 at a time; the rate."""
    await store.ensure([TopicSpec(topic)])
    batches = [[order(n) for n in range(start, min(start + 100, events))] for start in range(0, events, 100)]
    started = time.perf_counter()
    for batch in batches:
        await store.append(batch)
    return events / (time.perf_counter() - started)


async def fetch(store: Store, events: int) -> float:
    alone = Alone()
    member = await store.join("bench.fetch", ["orders"], alone)
    for partition in alone.partitions:
        member.seek(partition, 0)
    started, seen = time.perf_counter(), 0
    while seen < events:
        seen += sum(len(fetched.records) for fetched in await member.poll(500))
    rate = events / (time.perf_counter() - started)
    await member.leave()
    return rate


async def drain(folder: Path, url: str, events: int, app: str, code: str) -> tuple[float, float]:
    """Handle all events with this code; the rate, and CPU microseconds for each event."""
    (folder / f"{app}.py").write_text(code)
    settings = Settings(app=app, broker=url, target=str(folder / f"{app}.py"))
    before = cpu()
    async with open_store(settings, folder) as store, workshop(settings, folder) as shop:
        engine = engine_of(shop, store, [])
        await engine.open()  # returns when the worker is up; nothing is fetched before
        started = time.perf_counter()
        await engine.until_idle()
        ended = time.perf_counter()
        await engine.close(5.0)
    return events / (ended - started), (cpu() - before) / events * 1e6


async def run(events: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder, url = Path(name), f"sqlite:{name}/log.db"
        settings = Settings(app="bench", broker=url)
        async with open_store(settings, folder) as store:
            raw_append = await fill(store, events)
            raw_fetch = await fetch(store, events)
        no_op, no_op_cpu = await drain(folder, url, events, "noop", NO_OP)
        one_emit, one_emit_cpu = await drain(folder, url, events, "emit", ONE_EMIT)
    return {
        "raw_append": raw_append,
        "raw_fetch": raw_fetch,
        "no_op": no_op,
        "no_op_cpu_us": no_op_cpu,
        "one_emit": one_emit,
        "one_emit_cpu_us": one_emit_cpu,
        "no_op_to_raw_fetch": no_op / raw_fetch,
        "one_emit_to_raw_append": one_emit / raw_append,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = [asyncio.run(run(options.events)) for _ in range(options.runs)]
    medians = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    if options.json:
        print(json.dumps({"events": options.events, "runs": runs, "median": medians, "cores": os.cpu_count()}))
        return
    print(f"{options.events} events, median of {options.runs} runs, {os.cpu_count()} cores")
    for name, value in medians.items():
        print(f"  {name:<24} {value:>12,.2f}")


if __name__ == "__main__":
    main()
