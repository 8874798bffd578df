"""How long an event takes from `send` to its handler, at a rate far below what anything here can do.

The producer is a process of its own, on a fixed schedule. What it sends in the first second warms both sides up and
does not count; its last event says that all have come.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _kafka_gauge import Gauge
from _kafka_work import OrderPlaced, Work, document, key

RATE = 500
WARM_UP = RATE

Ages = Sequence[float]


class Moment(OrderPlaced):
    number: int
    at_ns: int


class Ledger:
    """The ages of the events that count; `done` is set by the last event."""

    def __init__(self) -> None:
        self.ages_ms: list[float] = []
        self.done = asyncio.Event()

    def handle(self, moment: Moment) -> None:
        age = (time.monotonic_ns() - moment.at_ns) / 1e6
        if moment.number >= 0:
            self.ages_ms.append(age)
        elif moment.number < -WARM_UP:
            self.done.set()


async def aiokafka(work: Work, _gauge: Gauge) -> dict[str, float]:
    from _kafka_aiokafka import consumer_of

    ledger = Ledger()
    async with consumer_of(work) as consumer, asyncio.TaskGroup() as tasks:
        tasks.create_task(send_all(work))
        while not ledger.done.is_set():
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    ledger.handle(Moment.model_validate_json(record.value))
    return quantiles(ledger.ages_ms, work)


async def faststream(work: Work, _gauge: Gauge) -> dict[str, float]:
    from faststream.kafka import KafkaBroker

    broker, ledger = KafkaBroker(work.bootstrap, logger=None), Ledger()

    @broker.subscriber(work.topic, group_id=work.group, auto_offset_reset="earliest")
    async def handle(moment: Moment) -> None:
        ledger.handle(moment)

    async with broker:
        await broker.start()
        await send_all(work)
        await ledger.done.wait()
    return quantiles(ledger.ages_ms, work)


HANDLER = """
import time
from headrace import function
from pydantic import BaseModel

class Item(BaseModel):
    sku: str
    quantity: int
    price: float

class Moment(BaseModel):
    order_id: str
    customer: str
    email: str
    total: float
    items: list[Item]
    number: int
    at_ns: int

class Ages(BaseModel):
    ms: list[float]

ages = []

@function({topic!r}, emits={{{out!r}: Ages}}, start="earliest", workers=1)
def handle(moment: Moment) -> Ages | None:
    age = (time.monotonic_ns() - moment.at_ns) / 1e6
    if moment.number >= 0:
        ages.append(age)
    return Ages(ms=ages) if moment.number < -{warm_up} else None
"""


async def headrace(work: Work, _gauge: Gauge) -> dict[str, float]:
    from _kafka_headrace import serving

    code = HANDLER.format(topic=work.topic, out=work.out, warm_up=WARM_UP)
    async with serving(work, code, lambda: None) as (engine, store):
        await send_all(work)
        await engine.until_idle()
        for partition, bounds in enumerate((await store.topics())[work.out].bounds):
            if bounds.end:
                (record,) = (await store.read((work.out, partition), 0, 1)).records
    return quantiles(json.loads(record.value or b"")["ms"], work)


def quantiles(ages_ms: Ages, work: Work) -> dict[str, float]:
    assert len(ages_ms) == work.events, f"{len(ages_ms)} of {work.events} events were handled"
    cuts = statistics.quantiles(ages_ms, n=100)
    return {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(ages_ms)}


async def send_all(work: Work) -> None:
    """Run the producer to its end."""
    program = Path(__file__).with_name("kafka.py")
    producer = await asyncio.create_subprocess_exec(sys.executable, str(program), "--produce", work.dump())
    assert await producer.wait() == 0, "the producer failed"


async def produce(work: Work) -> None:
    """Send on a fixed schedule, however long each takes: a slow reader must not slow the load."""
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=work.bootstrap) as producer:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for n in range(-WARM_UP, work.events):
            await asyncio.sleep(started + (n + WARM_UP) / RATE - loop.time())
            await producer.send(work.topic, _moment(n), key(n))
        await producer.flush()
        await asyncio.sleep(0.5)
        await producer.send_and_wait(work.topic, _moment(-WARM_UP - 1), key(0))


def _moment(number: int) -> bytes:
    return json.dumps({**document(abs(number)), "number": number, "at_ns": time.monotonic_ns()}).encode()
