"""headrace: the runtime in this process, the handler in isolated workers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from _kafka_gauge import Gauge
from _kafka_work import Skipped, Work

from headrace.compose import engine_of, open_store, workshop
from headrace.functions.errors import HeadraceError
from headrace.runtime.engine import Engine
from headrace.runtime.ports import Store
from headrace.runtime.settings import Settings

HANDLER = """
from pydantic import BaseModel
from headrace import function

class Item(BaseModel):
    sku: str
    quantity: int
    price: float

class OrderPlaced(BaseModel):
    order_id: str
    customer: str
    email: str
    total: float
    items: list[Item]

class Confirmed(BaseModel):
    order_id: str
    to: str

"""
NO_OP = """
@function({topic!r}, start="earliest", guarantee={guarantee!r}, workers={workers})
def handle(order: OrderPlaced) -> None:
    pass
"""
ONE_EMIT = """
@function({topic!r}, start="earliest", guarantee={guarantee!r}, workers={workers}, emits={{{out!r}: Confirmed}})
def handle(order: OrderPlaced) -> Confirmed:
    return Confirmed(order_id=order.order_id, to=order.email)
"""


async def no_op(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, NO_OP, "at-least-once")


async def no_op_two_workers(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, NO_OP, "at-least-once", workers=2)


async def no_op_effectively_once(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, NO_OP, "effectively-once")


async def one_emit(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, ONE_EMIT, "at-least-once")


async def one_emit_effectively_once(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, ONE_EMIT, "effectively-once")


async def _drain(work: Work, gauge: Gauge, handler: str, guarantee: str, workers: int = 1) -> None:
    code = HANDLER + handler.format(topic=work.topic, out=work.out, guarantee=guarantee, workers=workers)
    async with serving(work, code, gauge.first, transactions=guarantee == "effectively-once") as (engine, store):
        await _settled(engine, work.events)
        gauge.last()
        done = sum(one.committed for one in await store.lag(f"{work.group}."))
        assert done == work.events, f"{done} of {work.events} events are committed"


@asynccontextmanager
async def serving(
    work: Work, code: str, on_first: Callable[[], None], *, transactions: bool = False
) -> AsyncIterator[tuple[Engine, Store]]:
    """An engine that serves this code; `on_first` is called with each delivery. Raises `Skipped` for a refusal."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        (folder / "functions.py").write_text(code)
        settings = Settings(app=work.group, broker=f"kafka://{work.bootstrap}", target=str(folder / "functions.py"))
        async with open_store(settings, folder) as store, workshop(settings, folder) as shop:
            _tell(store, on_first)
            engine = engine_of(shop, store, [])
            try:
                await engine.open()
            except HeadraceError as refusal:
                raise Skipped(str(refusal)) from refusal
            try:
                if transactions and not store.features.transactions:
                    raise Skipped("the Kafka broker of this version has no transactions")
                yield engine, store
            finally:
                await engine.close(5.0)


def _tell(store: Any, on_first: Callable[[], None]) -> None:
    """Have each delivery of records told, as near to the client as the port lets us."""
    join = store.join

    async def joined(*arguments: Any, **options: Any) -> Any:
        member = await join(*arguments, **options)
        poll = member.poll

        async def polled(limit: int) -> Any:
            fetched = await poll(limit)
            if fetched:
                on_first()
            return fetched

        member.poll = polled
        return member

    store.join = joined


async def _settled(engine: Engine, events: int) -> None:
    """Wait until the progress of that many events is committed."""
    (subscription,) = engine.subscriptions
    while sum(subscription.watermarks.values()) < events or not subscription.quiet:
        if engine.blocked:
            raise RuntimeError(engine.blocked[0])
        await asyncio.sleep(0.005)
