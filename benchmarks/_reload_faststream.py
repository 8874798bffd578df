"""FastStream: `faststream run --reload` on a Kafka broker."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from _kafka_work import Failed
from _reload_contender import Place
from _reload_project import document
from _reload_stream import Send

SOURCE = """
from faststream import FastStream
from faststream.kafka import KafkaBroker
from orders import OrderPlaced
from prices import VERSION as HELPER, total
from telling import tell

VERSION = {version}

broker = KafkaBroker("{bootstrap}", logger=None)
app = FastStream(broker)

@broker.subscriber("{name}", group_id="{name}-confirm", auto_offset_reset="earliest")
async def confirm(order: OrderPlaced) -> None:
    total(order)
    tell(0, VERSION, HELPER, order.number)

@broker.subscriber("{name}", group_id="{name}-ship", auto_offset_reset="earliest")
async def ship(order: OrderPlaced) -> None:
    total(order)
    tell(1, VERSION, HELPER, order.number)
"""


class FastStreamReload:
    """Events are produced with the bare client, one acknowledgement each."""

    name = "faststream"
    libraries: Sequence[str] = ("faststream", "typer", "aiokafka", "watchfiles")
    handlers = "app.py"
    on_kafka = True
    settings = (
        "faststream run app:app --reload, logger=None, else default: commits every 5 s and when it is stopped; a topic "
        "of 4 partitions; group.initial.rebalance.delay.ms=0 on a broker started here"
    )

    def lacks(self) -> str | None:
        return None

    def source(self, place: Place) -> str:
        return SOURCE.replace("{bootstrap}", place.bootstrap).replace("{name}", place.name)

    def command(self, place: Place) -> Sequence[str]:
        _ = place
        return [sys.executable, "-m", "faststream", "run", "app:app", "--reload"]

    @asynccontextmanager
    async def feed(self, place: Place) -> AsyncIterator[Send]:
        from aiokafka import AIOKafkaProducer

        async with _topic(place), AIOKafkaProducer(bootstrap_servers=place.bootstrap) as producer:

            async def send(number: int) -> bool:
                key = f"customer-{number % 50}".encode()
                await producer.send_and_wait(place.name, json.dumps(document(number)).encode(), key)
                return True

            yield send

    def told(self, place: Place) -> Sequence[Mapping[str, int]]:
        _ = place
        return []


@asynccontextmanager
async def _topic(place: Place) -> AsyncIterator[None]:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.errors import KafkaConnectionError

    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap)
    try:
        await admin.start()
    except KafkaConnectionError as error:
        await admin.close()
        raise Failed(f"there is no Kafka broker at {place.bootstrap}") from error
    try:
        await admin.create_topics([NewTopic(place.name, num_partitions=4, replication_factor=1)])
        try:
            yield
        finally:
            await admin.delete_topics([place.name])
    finally:
        await admin.close()
