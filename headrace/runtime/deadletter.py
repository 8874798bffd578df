"""Dead letters: the original record, byte for byte, with headers that say where it came from and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.functions.codec import MAX_HEADER_BYTES, MAX_HEADERS
from headrace.runtime.ports import Append, Record
from headrace.sandbox.headers import Header, pack, unpack
from headrace.sandbox.outcome import Failure
from headrace.sandbox.wire import Origin

_LINEAGE = {"headrace-cause", "headrace-root", "headrace-hops"}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sets the event aside, and where to: `partitions` are those of the dead-letter topic."""

    function: str
    topic: str
    partitions: int
    code: str


def dead_letter(
    record: Record, origin: Origin, failure: Failure, *, attempts: int, sender: Sender, now_ms: int
) -> Append:
    """The dead-letter record of an event. It keeps its partition's number, so that order per key is kept."""
    ours: list[Header] = [
        ("headrace-origin-topic", origin.topic.encode()),
        ("headrace-origin-partition", str(origin.partition).encode()),
        ("headrace-origin-offset", str(origin.offset).encode()),
        ("headrace-origin-timestamp", str(record.timestamp).encode()),
        ("headrace-function", sender.function.encode()),
        ("headrace-code", sender.code.encode()),
        ("headrace-attempt", str(attempts).encode()),
        ("headrace-error-type", _text(failure.type)),
        ("headrace-error-message", _text(failure.message)),
        ("headrace-error-stack", _text(failure.stack)),
        ("headrace-fingerprint", failure.fingerprint.encode()),
        ("headrace-failed-at", datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().encode()),
    ]
    kept, dropped = _foreign(unpack(record.headers))
    if dropped:
        ours.append(("headrace-headers-dropped", str(dropped).encode()))
    return Append(
        sender.topic, origin.partition % sender.partitions, now_ms, record.key, record.value, pack(kept + ours)
    )


def _foreign(headers: Iterable[Header]) -> tuple[list[Header], int]:
    """The headers to keep, in order, within the limits of one event; and how many were left out for that."""
    kept: list[Header] = []
    size = dropped = 0
    for name, value in headers:
        if name.startswith("headrace-") and name not in _LINEAGE:
            continue
        size += len(name) + len(value)
        if len(kept) >= MAX_HEADERS or size > MAX_HEADER_BYTES:
            dropped += 1
        else:
            kept.append((name, value))
    return kept, dropped


def _text(value: str) -> bytes:
    return value.encode("utf-8", "replace")
