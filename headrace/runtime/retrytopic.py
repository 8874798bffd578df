"""Retry topics: where an event waits for its next attempt outside of the partition it came from.

They are for functions without order on brokers that bound a partition's progress: there an event that waits in place
would hold up the watermark. `<app>.<function>.retry.<tier>` (see `tiers`) has records that are the original ones, byte
for byte, with headers that say where the event came from, how many attempts it had, and when the next one is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from headrace.functions.names import retry_topic_of
from headrace.runtime.origin import origin_headers
from headrace.runtime.ports import Append, Partition, Record, TopicSpec
from headrace.runtime.tiers import REDRIVE, TIERS, Tier, tier_for
from headrace.sandbox.headers import pack, unpack
from headrace.sandbox.wire import Origin

_OURS = frozenset(
    {
        "headrace-origin-topic",
        "headrace-origin-partition",
        "headrace-origin-offset",
        "headrace-origin-timestamp",
        "headrace-function",
        "headrace-code",
        "headrace-attempt",
        "headrace-not-before",
        "headrace-alone",
    }
)


@lru_cache
def retry_topics_of(app: str, function: str) -> Mapping[str, Tier]:
    """All retry topics that a function may have, by name. Asked for each record that comes from one."""
    return MappingProxyType({retry_topic_of(app, function, tier.name): tier for tier in (*TIERS, REDRIVE)})


@dataclass(frozen=True, slots=True)
class Deferred:
    """An event that lies in a retry topic, or is to go there.

    `record` is the original one, but for its `offset`, which is the one of the partition it is in. `failures` are those
    charged so far. It may be handled from `not_before_ms` on; if that is later than `hop_ms`, it goes on to another
    tier then. `alone`: it has to run alone, because it was charged with a crash. Times are milliseconds since 1970.
    """

    record: Record
    origin: Origin
    failures: int
    not_before_ms: int
    alone: bool
    hop_ms: int = 0


@dataclass(frozen=True, slots=True)
class RetryTopics:
    """The retry topics of a function, each with as many partitions; `code` is the fingerprint of its code.

    `max_bytes` is the most that their records may have, as for the topics they are retries of; None for no limit.
    """

    app: str
    function: str
    partitions: int
    code: str
    max_bytes: int | None = None

    @property
    def tiers(self) -> Mapping[str, Tier]:
        """All retry topics there may be, by name."""
        return retry_topics_of(self.app, self.function)

    def spec(self, topic: str) -> TopicSpec:
        """The topic as it is to be made. Kept for ever: what waits for its retry must not go before it had it."""
        return TopicSpec(topic, partitions=self.partitions, max_bytes=self.max_bytes)

    def defer(self, event: Deferred, now_ms: int) -> Append:
        """The record that puts an event on the tier that fits. It keeps its partition's number."""
        record, origin = event.record, event.origin
        tier = tier_for(event.not_before_ms - now_ms)
        attempt = event.failures + 1
        ours = origin_headers(record, origin, function=self.function, code=self.code, attempt=attempt)
        ours.append(("headrace-not-before", b"%d" % event.not_before_ms))
        if event.alone:
            ours.append(("headrace-alone", b"1"))
        kept = [header for header in unpack(record.headers) if header[0] not in _OURS]
        return Append(
            retry_topic_of(self.app, self.function, tier.name),
            origin.partition % self.partitions,
            now_ms,
            record.key,
            record.value,
            pack(kept + ours),
        )

    def read(self, record: Record, partition: Partition) -> Deferred:
        """The event of a record of a retry topic. One without our headers is an event of its own, due at once."""
        headers = unpack(record.headers)
        ours = {name: value for name, value in headers if name in _OURS}
        kept = pack(header for header in headers if header[0] not in _OURS)
        try:
            return self._read(record, partition, ours, kept)
        except (KeyError, ValueError):
            original = Record(record.offset, record.timestamp, record.key, record.value, kept)
            return Deferred(original, Origin(*partition, record.offset), 0, 0, alone=False)

    def _read(self, record: Record, partition: Partition, ours: Mapping[str, bytes], kept: bytes) -> Deferred:
        timestamp_ms = int(ours["headrace-origin-timestamp"])
        return Deferred(
            Record(record.offset, timestamp_ms, record.key, record.value, kept),
            Origin(
                ours["headrace-origin-topic"].decode(),
                int(ours["headrace-origin-partition"]),
                int(ours["headrace-origin-offset"]),
            ),
            failures=max(0, int(ours["headrace-attempt"]) - 1),
            not_before_ms=int(ours["headrace-not-before"]),
            hop_ms=record.timestamp + self.tiers[partition[0]].ms,
            alone="headrace-alone" in ours,
        )
