"""headrace on the embedded log: the runtime in this process, the handler in isolated workers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from _kafka_gauge import Gauge
from _kafka_headrace import HANDLER
from _kafka_work import key, value
from _queues_cases import Case

from headrace.compose import engine_of, open_store, workshop
from headrace.functions import cloudevents
from headrace.runtime.engine import Engine
from headrace.runtime.ports import Append, Store, TopicSpec
from headrace.runtime.settings import Settings
from headrace.sandbox.headers import pack

BODY = {"no-op": "pass", "1 ms": "time.sleep(0.001)"}
FUNCTION = """
import time

@function("orders", start="earliest", workers={workers})
def handle(order: OrderPlaced) -> None:
    {body}
"""


async def drain(case: Case, _url: str, tasks: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder, gauge = Path(name), Gauge()
        (folder / "functions.py").write_text(HANDLER + FUNCTION.format(workers=case.processes, body=BODY[case.kind]))
        settings = Settings(app="bench", broker=f"sqlite:{name}/log.db", target=str(folder / "functions.py"))
        async with open_store(settings, folder) as store, workshop(settings, folder) as shop:
            await _fill(store, tasks)
            engine = engine_of(shop, store, [])
            await engine.open()  # returns when the workers are up; nothing is fetched before
            gauge.first()
            await _settled(engine, tasks)
            gauge.last()
            await engine.close(5.0)
    figures = gauge.figures(tasks)
    return {"tasks_per_s": figures["events_per_s"], "cpu_us": figures["cpu_us"], "peak_mb": figures["peak_mb"]}


async def _fill(store: Store, tasks: int) -> None:
    await store.ensure([TopicSpec("orders")])
    for start in range(0, tasks, 1000):
        await store.append([_order(number) for number in range(start, min(start + 1000, tasks))])


def _order(number: int) -> Append:
    headers = cloudevents.write(id=f"o{number}", source="/bench", type="OrderPlaced", content_type="application/json")
    return Append("orders", -1, 1_700_000_000_000, key(number), value(number), pack(headers))


async def _settled(engine: Engine, tasks: int) -> None:
    """Wait until the progress of that many events is committed, synced to the disk."""
    (subscription,) = engine.subscriptions
    while sum(subscription.watermarks.values()) < tasks or not subscription.quiet:
        if engine.blocked:
            raise RuntimeError(engine.blocked[0])
        await asyncio.sleep(0.005)
