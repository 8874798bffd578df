"""Topics: made, and described."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.functions.errors import BrokerError
from headrace.functions.names import TOPIC_RULE, is_topic
from headrace.runtime.ports import TopicSpec

if TYPE_CHECKING:
    from headrace.triggers.brokers.sqlite.transaction import Transaction

MOST_PARTITIONS = 1024


def create(transaction: Transaction, specs: Sequence[TopicSpec], default_partitions: int) -> list[str]:
    """Create the topics that are not there yet; their names. Raises `BrokerError` for a spec that cannot be, first."""
    for spec in specs:
        _check(spec)
    return [spec.name for spec in specs if _insert(transaction, spec, spec.partitions or default_partitions)]


def settings(spec: TopicSpec) -> str:
    """What of a spec is kept as the topic's `conf`, as JSON."""
    return json.dumps(
        {"retention_ms": spec.retention_ms, "retention_bytes": spec.retention_bytes, "cleanup": spec.cleanup}
    )


def spec_of(name: str, partitions: int, conf: str) -> TopicSpec:
    """The spec a topic was made with. Settings this version does not know are left out."""
    kept = json.loads(conf)
    return TopicSpec(
        name, partitions, kept.get("retention_ms"), kept.get("retention_bytes"), kept.get("cleanup", "delete")
    )


def _check(spec: TopicSpec) -> None:
    if not is_topic(spec.name):
        raise BrokerError(f"{spec.name!r} cannot name a topic: a name is {TOPIC_RULE}")
    if spec.partitions is not None and not 1 <= spec.partitions <= MOST_PARTITIONS:
        raise BrokerError(
            f"topic {spec.name!r} cannot have {spec.partitions} partitions; it takes 1 to {MOST_PARTITIONS} here"
        )
    if spec.cleanup not in {"delete", "compact", "compact,delete"}:
        raise BrokerError(
            f"topic {spec.name!r}: cleanup={spec.cleanup!r} is not 'delete', 'compact' or 'compact,delete'"
        )


def _insert(transaction: Transaction, spec: TopicSpec, partitions: int) -> bool:
    made = transaction.execute(
        "INSERT INTO topic(name, parts, conf) VALUES (?, ?, ?) ON CONFLICT(name) DO NOTHING RETURNING id",
        (spec.name, partitions, settings(spec)),
    ).fetchall()
    for (topic,) in made:
        for number in range(partitions):
            transaction.execute("INSERT INTO part(topic, p) VALUES (?, ?)", (topic, number))
    return bool(made)
