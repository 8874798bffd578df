"""Topics: made, described, altered, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headrace.runtime.ports import TopicSpec
from headrace.triggers.brokers.refusal import check_spec, fewer_partitions, still_read, unknown_topic
from headrace.triggers.brokers.sqlite.conf import altered, conf_of
from headrace.triggers.brokers.sqlite.readers import readers
from headrace.triggers.brokers.sqlite.transaction import Transaction

DROPPED = "dropped:"
"""In `meta`, before the number of a partition whose records are still to be deleted."""


def create(transaction: Transaction, specs: Sequence[TopicSpec], default_partitions: int) -> list[str]:
    """Create the topics that are not there yet; their names. Raises `BrokerError` for a spec that cannot be, first."""
    for spec in specs:
        check_spec(spec)
    return [spec.name for spec in specs if _insert(transaction, spec, spec.partitions or default_partitions)]


def alter(transaction: Transaction, spec: TopicSpec) -> None:
    """See `ports.Admin.alter`."""
    check_spec(spec)
    topic, count, conf = _found(transaction, spec.name)
    wanted = spec.partitions or count
    if wanted < count:
        raise fewer_partitions(spec.name, count, wanted)
    for number in range(count, wanted):
        transaction.execute("INSERT INTO part(topic, p) VALUES (?, ?)", (topic, number))
    transaction.execute("UPDATE topic SET parts = ?, conf = ? WHERE id = ?", (wanted, altered(conf, spec), topic))


def drop(transaction: Transaction, name: str, run: Path) -> None:
    """See `ports.Admin.delete`. The records, out of reach, are left to the chores (see `DROPPED`)."""
    topic, _, _ = _found(transaction, name)
    for reading in readers(transaction.execute, run):
        if name in reading.topics:
            raise still_read(name, reading.group, reading.process)
    tps = [tp for (tp,) in transaction.execute("SELECT tp FROM part WHERE topic = ?", (topic,)).fetchall()]
    for tp in tps:
        for table in ("part", "own", "coff"):
            transaction.execute(f"DELETE FROM {table} WHERE tp = ?", (tp,))  # noqa: S608
        transaction.execute("INSERT INTO meta(k, v) VALUES (?, ?)", (f"{DROPPED}{tp}", tp))
        transaction.execute("DELETE FROM meta WHERE k = ?", (f"compacted:{tp}",))
    transaction.execute("DELETE FROM delayed WHERE topic = ?", (topic,))
    transaction.execute("DELETE FROM topic WHERE id = ?", (topic,))


def _found(transaction: Transaction, name: str) -> tuple[int, int, str]:
    row = transaction.execute("SELECT id, parts, conf FROM topic WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise unknown_topic(name, (other for (other,) in transaction.execute("SELECT name FROM topic")))
    topic, count, conf = row
    return topic, count, conf


def _insert(transaction: Transaction, spec: TopicSpec, partitions: int) -> bool:
    made = transaction.execute(
        "INSERT INTO topic(name, parts, conf) VALUES (?, ?, ?) ON CONFLICT(name) DO NOTHING RETURNING id",
        (spec.name, partitions, conf_of(spec)),
    ).fetchall()
    for (topic,) in made:
        for number in range(partitions):
            transaction.execute("INSERT INTO part(topic, p) VALUES (?, ?)", (topic, number))
    return bool(made)
