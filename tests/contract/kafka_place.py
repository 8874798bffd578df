"""A Kafka cluster as a place for contract tests: emptied before each, because the tests name their topics plainly."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

from headrace.triggers.brokers.kafka import KafkaLog, KafkaSettings


async def emptied(bootstrap: str) -> None:
    """Delete all topics, and what groups have committed with them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        while topics := [one["topic"] for one in await admin.describe_topics() if not one["is_internal"]]:
            await admin.delete_topics(topics)
            await asyncio.sleep(0)
    finally:
        await admin.close()


async def opened(bootstrap: str) -> KafkaLog:
    """A client. Heartbeats are quick, because members learn from them that a group changes."""
    settings = KafkaSettings(bootstrap, session_timeout_s=10.0, heartbeat_s=0.1)
    return await KafkaLog.open(settings)
