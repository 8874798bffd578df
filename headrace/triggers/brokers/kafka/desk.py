"""What the members of a store share."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.triggers.brokers.kafka.afterglow import Afterglow
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.cluster import Cluster
from headrace.triggers.brokers.kafka.settings import KafkaSettings
from headrace.triggers.brokers.kafka.topics import Topics


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of a store that its members, and those who settle for them, work with."""

    settings: KafkaSettings
    calls: Calls
    cluster: Cluster
    topics: Topics
    afterglow: Afterglow
