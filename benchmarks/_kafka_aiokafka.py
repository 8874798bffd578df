"""The bare client: aiokafka in one process, no framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _kafka_gauge import Gauge
from _kafka_work import Confirmed, OrderPlaced, Work
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

CHUNK = 500


def consumer_of(work: Work, **settings: Any) -> AIOKafkaConsumer:
    common = {"bootstrap_servers": work.bootstrap, "group_id": work.group, "auto_offset_reset": "earliest"}
    return AIOKafkaConsumer(work.topic, **common, **settings)


async def undecoded(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, lambda _value: None)


async def validated(work: Work, gauge: Gauge) -> None:
    await _drain(work, gauge, OrderPlaced.model_validate_json)


async def _drain(work: Work, gauge: Gauge, handle: Callable[[bytes], object]) -> None:
    async with consumer_of(work) as consumer:
        left = work.events
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=1000)
            for records in fetched.values():
                gauge.first()
                left -= len(records)
                for record in records:
                    handle(record.value)
        await consumer.commit()
        gauge.last()


async def confirm(work: Work, gauge: Gauge) -> None:
    """At least once: what 500 events emit is acknowledged, then their offsets are committed."""
    producer = AIOKafkaProducer(bootstrap_servers=work.bootstrap)
    async with consumer_of(work, enable_auto_commit=False) as consumer, producer:
        left = work.events
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=CHUNK)
            for records in fetched.values():
                gauge.first()
                left -= len(records)
                for record in records:
                    order = OrderPlaced.model_validate_json(record.value)
                    emitted = Confirmed(order_id=order.order_id, to=order.email)
                    await producer.send(work.out, emitted.model_dump_json().encode(), record.key)
            if fetched:
                await producer.flush()
                await consumer.commit()
        gauge.last()
