"""Contenders on librdkafka, the C client: confluent-kafka itself, and Quix Streams."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

from _kafka_gauge import Gauge
from _kafka_work import OrderPlaced, Work

CHUNK = 500
TUNED = {"fetch.queue.backoff.ms": 2, "queued.min.messages": 200_000}


def confluent(work: Work, gauge: Gauge) -> None:
    from confluent_kafka import Consumer

    common = {"bootstrap.servers": work.bootstrap, "group.id": work.group, "auto.offset.reset": "earliest"}
    consumer = Consumer({**common, **TUNED}, logger=logging.getLogger("librdkafka"))
    consumer.subscribe([work.topic])
    left = work.events
    while left > 0:
        messages = consumer.consume(CHUNK, timeout=1.0)
        if messages:
            gauge.first()
        for message in messages:
            OrderPlaced.model_validate_json(message.value())
        left -= len(messages)
    consumer.commit(asynchronous=False)
    gauge.last()
    consumer.close()


def quix(work: Work, gauge: Gauge) -> None:
    from quixstreams import Application

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as state:
        app = Application(
            broker_address=work.bootstrap,
            consumer_group=work.group,
            auto_offset_reset="earliest",
            state_dir=state,
            auto_create_topics=False,
            loglevel="ERROR",
        )

        def handle(value: bytes, *_: Any) -> None:
            gauge.first()
            OrderPlaced.model_validate_json(value)

        frame = app.dataframe(app.topic(work.topic, value_deserializer="bytes"))
        frame.update(handle)
        app.run(count=work.events, collect=False)
        gauge.last()
