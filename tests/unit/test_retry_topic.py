"""Retry topics: which tier, what is written, and what is read back."""

from __future__ import annotations

import pytest

from headrace.runtime.ports import Record
from headrace.runtime.retrytopic import Deferred, RetryTopics
from headrace.runtime.tiers import tier_for
from headrace.sandbox.headers import pack, unpack
from headrace.sandbox.wire import Origin

TOPICS = RetryTopics("shop", "confirm", 2, "c0de")


@pytest.mark.parametrize(
    ("delay_ms", "name"),
    [
        (-5, "1s"),
        (0, "1s"),
        (1_000, "1s"),
        (1_001, "5s"),
        (30_000, "30s"),
        (30_001, "2m"),
        (120_001, "10m"),
        (600_001, "1h"),
        (3_600_000, "1h"),
        (86_400_000, "1h"),
    ],
)
def test_the_tier_is_the_smallest_that_holds_the_delay(delay_ms: int, name: str) -> None:
    assert tier_for(delay_ms).name == name


def event(headers: list[tuple[str, bytes]], *, alone: bool = False) -> Deferred:
    record = Record(42, 1_700_000_000_000, b"\xff", None, pack(headers))
    return Deferred(record, Origin("orders", 5, 42), failures=2, not_before_ms=1_700_000_009_000, alone=alone)


def test_the_record_is_the_original_with_headers_that_say_where_from_and_when_due() -> None:
    foreign = [("a", b"1"), ("b", b"\xff"), ("a", b"2"), ("headrace-root", b"r")]
    append = TOPICS.defer(event(foreign), 1_700_000_005_000)
    assert (append.topic, append.partition, append.timestamp) == ("shop.confirm.retry.5s", 1, 1_700_000_005_000)
    assert (append.key, append.value) == (b"\xff", None)
    headers = unpack(append.headers)
    assert headers[:4] == foreign
    assert dict(headers[4:]) == {
        "headrace-origin-topic": b"orders",
        "headrace-origin-partition": b"5",
        "headrace-origin-offset": b"42",
        "headrace-origin-timestamp": b"1700000000000",
        "headrace-function": b"confirm",
        "headrace-code": b"c0de",
        "headrace-attempt": b"3",
        "headrace-not-before": b"1700000009000",
    }


@pytest.mark.parametrize("alone", [False, True])
def test_what_is_written_is_read_back(alone: bool) -> None:
    written = event([("a", b"1")], alone=alone)
    append = TOPICS.defer(written, 1_700_000_005_000)
    record = Record(7, append.timestamp, append.key, append.value, append.headers)
    read = TOPICS.read(record, (append.topic, append.partition))
    assert (read.origin, read.failures, read.not_before_ms, read.alone) == (
        written.origin,
        2,
        written.not_before_ms,
        alone,
    )
    assert read.record == Record(7, 1_700_000_000_000, b"\xff", None, pack([("a", b"1")]))
    assert read.hop_ms == append.timestamp + 5_000


def test_older_headers_of_ours_are_replaced() -> None:
    append = TOPICS.defer(event([("headrace-attempt", b"9"), ("headrace-alone", b"1"), ("x", b"")]), 1_700_000_005_000)
    headers = unpack(append.headers)
    assert headers[0] == ("x", b"")
    assert [value for name, value in headers if name == "headrace-attempt"] == [b"3"]
    assert "headrace-alone" not in dict(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("headrace-attempt", b"2")],
        [
            ("headrace-origin-topic", b"orders"),
            ("headrace-origin-partition", b"one"),
            ("headrace-origin-offset", b"1"),
            ("headrace-origin-timestamp", b"1"),
            ("headrace-attempt", b"1"),
            ("headrace-not-before", b"1"),
        ],
        [
            ("headrace-origin-topic", b"\xff"),
            ("headrace-origin-partition", b"0"),
            ("headrace-origin-offset", b"1"),
            ("headrace-origin-timestamp", b"1"),
            ("headrace-attempt", b"1"),
            ("headrace-not-before", b"1"),
        ],
    ],
)
def test_a_record_that_is_not_ours_is_an_event_of_its_own(headers: list[tuple[str, bytes]]) -> None:
    read = TOPICS.read(Record(7, 1_700_000_000_000, b"k", b"v", pack(headers)), ("shop.confirm.retry.5s", 1))
    assert (read.origin, read.failures, read.not_before_ms) == (Origin("shop.confirm.retry.5s", 1, 7), 0, 0)
    assert (read.record.key, read.record.value, read.record.timestamp) == (b"k", b"v", 1_700_000_000_000)
