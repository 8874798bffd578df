"""Topics: made, and described."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.runtime.ports import TopicSpec
from headrace.triggers.brokers.refusal import check_spec

if TYPE_CHECKING:
    from headrace.triggers.brokers.sqlite.transaction import Transaction


def create(transaction: Transaction, specs: Sequence[TopicSpec], default_partitions: int) -> list[str]:
    """Create the topics that are not there yet; their names. Raises `BrokerError` for a spec that cannot be, first."""
    for spec in specs:
        check_spec(spec)
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


def _insert(transaction: Transaction, spec: TopicSpec, partitions: int) -> bool:
    made = transaction.execute(
        "INSERT INTO topic(name, parts, conf) VALUES (?, ?, ?) ON CONFLICT(name) DO NOTHING RETURNING id",
        (spec.name, partitions, settings(spec)),
    ).fetchall()
    for (topic,) in made:
        for number in range(partitions):
            transaction.execute("INSERT INTO part(topic, p) VALUES (?, ?)", (topic, number))
    return bool(made)
