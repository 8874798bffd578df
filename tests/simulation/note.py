"""A note: the headers of a record in a retry topic, read without any shipped code but the header block's."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.runtime.ports import Record
from headrace.sandbox.headers import Header, unpack
from simulation.life import Place

TIERS_MS = {"1s": 1_000, "5s": 5_000, "30s": 30_000, "2m": 120_000, "10m": 600_000, "1h": 3_600_000}
_OURS = "headrace-"
_LINEAGE = {"headrace-cause", "headrace-root", "headrace-hops"}


@dataclass(frozen=True)
class Note:
    """Where an event came from, at which attempt it is, and when that may start. `kept`: the headers it came with."""

    origin: Place
    timestamp: int
    attempt: int
    due_ms: int
    alone: bool
    kept: list[Header]

    @classmethod
    def read(cls, record: Record) -> Note:
        """The note on a record."""
        headers = unpack(record.headers)
        kept = [one for one in headers if not one[0].startswith(_OURS) or one[0] in _LINEAGE]
        ours = {name.removeprefix(_OURS): value.decode() for name, value in headers if name.startswith(_OURS)}
        return cls(
            ((ours["origin-topic"], int(ours["origin-partition"])), int(ours["origin-offset"])),
            int(ours["origin-timestamp"]),
            int(ours["attempt"]),
            int(ours["not-before"]),
            "alone" in ours,
            kept,
        )


def is_retry(topic: str) -> bool:
    """Whether a topic is a retry topic."""
    return ".retry." in topic


def tier_of(topic: str) -> str:
    """The tier of a retry topic."""
    return topic.rpartition(".")[2]


def tier_for(delay_ms: int) -> str:
    """The smallest tier that is not shorter than a delay, else the longest."""
    return next((name for name, ms in TIERS_MS.items() if ms >= delay_ms), "1h")
