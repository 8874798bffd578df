"""Dead letters: the original record, byte for byte, with headers that say where it came from and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from headrace.functions.codec import MAX_HEADER_BYTES, MAX_HEADERS
from headrace.runtime.origin import origin_headers
from headrace.runtime.ports import Append, Record
from headrace.sandbox.headers import Header, pack, record_size, unpack
from headrace.sandbox.outcome import Failure
from headrace.sandbox.wire import Origin

LINEAGE = {"headrace-cause", "headrace-root", "headrace-hops"}
_IDENTITY = LINEAGE | {"ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion", "ce_subject"}


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sets the event aside, and where to: the dead-letter topic, its partitions, and the most its records may have.

    `max_bytes` is None where there is no limit.
    """

    function: str
    topic: str
    partitions: int
    code: str
    max_bytes: int | None = None


REDRIVE = "headrace-redrive"
"""How often an event was redriven; counts only where we wrote it."""


def dead_letter(
    record: Record,
    origin: Origin,
    failure: Failure,
    *,
    attempts: int,
    sender: Sender,
    now_ms: int,
    returned: bool = False,
) -> Append:
    """The dead-letter record of an event. It keeps its partition's number, so that order per key is kept.

    `returned`: it came from a retry topic of ours, where we may have noted how often it was redriven.

    What is too large for the topic with our headers is a stub without value and foreign headers: it says where the
    original is, and how large, in `headrace-value-dropped`.
    """
    ours: list[Header] = [
        *origin_headers(record, origin, function=sender.function, code=sender.code, attempt=attempts),
        ("headrace-error-type", _text(failure.type)),
        ("headrace-error-message", _text(failure.message)),
        ("headrace-error-stack", _text(failure.stack)),
        ("headrace-fingerprint", failure.fingerprint.encode()),
        ("headrace-failed-at", datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().encode()),
    ]
    headers = unpack(record.headers)
    if returned:
        ours += [header for header in headers if header[0] == REDRIVE][-1:]
    kept, dropped = _foreign(headers)
    if dropped:
        ours.append(("headrace-headers-dropped", str(dropped).encode()))
    partition = origin.partition % sender.partitions
    letter = Append(sender.topic, partition, now_ms, record.key, record.value, pack(kept + ours))
    if fits(letter, sender.max_bytes):
        return letter
    own = [header for header in kept if header[0] in _IDENTITY]
    size: Header = ("headrace-value-dropped", str(len(record.value or b"")).encode())
    return Append(sender.topic, partition, now_ms, record.key, None, pack([*own, *ours, size]))


def without_redrives(record: Record) -> Record:
    """The record of an ordinary topic as it goes to a retry topic, where what others noted of redrives would count."""
    if REDRIVE.encode() not in record.headers:
        return record
    kept = [header for header in unpack(record.headers) if header[0] != REDRIVE]
    return replace(record, headers=pack(kept))


def fits(append: Append, max_bytes: int | None) -> bool:
    """Whether a record is within the limit of its topic."""
    return max_bytes is None or record_size(append.key, append.value, append.headers) <= max_bytes


def _foreign(headers: Iterable[Header]) -> tuple[list[Header], int]:
    """The headers to keep, in order, within the limits of one event; and how many were left out for that."""
    kept: list[Header] = []
    size = dropped = 0
    for name, value in headers:
        if name.startswith("headrace-") and name not in LINEAGE:
            continue
        size += len(name) + len(value)
        if len(kept) >= MAX_HEADERS or size > MAX_HEADER_BYTES:
            dropped += 1
        else:
            kept.append((name, value))
    return kept, dropped


def _text(value: str) -> bytes:
    return value.encode("utf-8", "replace")
