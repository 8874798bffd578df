"""What several tests of the Kafka broker begin with: a store on the shared broker, and a topic of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kafkaclient import fresh, quick

from headrace.runtime.ports import TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog


@pytest.fixture
async def log(kafka: Any) -> AsyncIterator[KafkaLog]:
    """A store on the shared broker, with short times."""
    opened = await KafkaLog.open(quick(kafka.bootstrap))
    yield opened
    await opened.close()


@pytest.fixture
async def topic(log: KafkaLog) -> str:
    """A topic of one partition that nobody else uses."""
    name = fresh("orders")
    await log.ensure([TopicSpec(name, 1)])
    return name
