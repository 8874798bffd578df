"""A Kafka cluster as a place for contract tests: emptied before each, because the tests name their topics plainly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient

from headrace.runtime.ports import Rebalance
from headrace.triggers.brokers.kafka import KafkaLog, KafkaSettings
from headrace.triggers.brokers.kafka.member import KafkaMember


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


async def opened(bootstrap: str, *, transactional: bool) -> KafkaLog:
    """A client. Heartbeats are quick, because members learn from them that a group changes."""
    settings = KafkaSettings(bootstrap, session_timeout_s=10.0, heartbeat_s=0.1)
    return await (_InTransactions if transactional else KafkaLog).open(settings)


class _InTransactions(KafkaLog):
    """A client all of whose groups settle in transactions."""

    async def join(
        self, group: str, topics: Sequence[str], rebalance: Rebalance, *, transactional: bool = True
    ) -> KafkaMember:
        return await super().join(group, topics, rebalance, transactional=transactional)
