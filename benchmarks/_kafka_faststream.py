"""FastStream on aiokafka, as its documentation writes it, without its log of every message."""

from __future__ import annotations

import asyncio
from typing import Any

from _kafka_gauge import Gauge
from _kafka_work import Confirmed, OrderPlaced, Work
from faststream import AckPolicy
from faststream.kafka import KafkaBroker

CHUNK = 500
BATCH_BYTES = 1 << 20  # 500 emitted events do not fit the default of 16 KiB


class Count:
    """Tells the gauge of the first event, and waits for the last."""

    def __init__(self, work: Work, gauge: Gauge) -> None:
        self._left, self._gauge, self._done = work.events, gauge, asyncio.Event()

    def add(self, events: int = 1) -> None:
        self._left -= events
        if self._left <= 0:
            self._done.set()

    async def serve(self, broker: KafkaBroker) -> None:
        async with broker:
            await broker.start()
            await self._done.wait()
            self._gauge.last()


async def single(work: Work, gauge: Gauge) -> None:
    await _single(work, gauge)


async def acknowledged(work: Work, gauge: Gauge) -> None:
    await _single(work, gauge, ack_policy=AckPolicy.ACK)


async def _single(work: Work, gauge: Gauge, **settings: Any) -> None:
    broker, count = KafkaBroker(work.bootstrap, logger=None), Count(work, gauge)

    @broker.subscriber(work.topic, group_id=work.group, auto_offset_reset="earliest", **settings)
    async def handle(_order: OrderPlaced) -> None:
        gauge.first()
        count.add()

    await count.serve(broker)


async def batched(work: Work, gauge: Gauge) -> None:
    broker, count = KafkaBroker(work.bootstrap, logger=None), Count(work, gauge)

    @broker.subscriber(work.topic, group_id=work.group, auto_offset_reset="earliest", batch=True, max_records=CHUNK)
    async def handle(orders: list[OrderPlaced]) -> None:
        gauge.first()
        count.add(len(orders))

    await count.serve(broker)


async def publisher(work: Work, gauge: Gauge) -> None:
    broker, count = KafkaBroker(work.bootstrap, logger=None), Count(work, gauge)

    @broker.subscriber(work.topic, group_id=work.group, auto_offset_reset="earliest")
    @broker.publisher(work.out)
    async def handle(order: OrderPlaced) -> Confirmed:
        gauge.first()
        count.add()
        return Confirmed(order_id=order.order_id, to=order.email)

    await count.serve(broker)


async def batch_publisher(work: Work, gauge: Gauge) -> None:
    broker = KafkaBroker(work.bootstrap, logger=None, max_batch_size=BATCH_BYTES)
    count = Count(work, gauge)

    @broker.subscriber(work.topic, group_id=work.group, auto_offset_reset="earliest", batch=True, max_records=CHUNK)
    async def handle(orders: list[OrderPlaced]) -> None:
        gauge.first()
        emitted = [Confirmed(order_id=order.order_id, to=order.email) for order in orders]
        await broker.publish_batch(*emitted, topic=work.out)
        count.add(len(orders))

    await count.serve(broker)
