"""Reopening past events on every kind of copy: what waits in a tier, what is a stub, what others have put there."""

from __future__ import annotations

import pytest

from headrace.functions.errors import BrokerError
from headrace.runtime.clock import SystemClock
from headrace.runtime.deadletter import Sender, dead_letter
from headrace.runtime.ports import Append, Record, TopicSpec
from headrace.runtime.reopening import reopen
from headrace.runtime.retrytopic import Deferred, RetryTopics
from headrace.sandbox.headers import pack, unpack
from headrace.sandbox.outcome import Failure
from headrace.sandbox.wire import Origin
from headrace.triggers.brokers.memory import Disk, MemoryLog

HEADERS = [("ce_id", b"e1"), ("headrace-cause", b"c0"), ("headrace-hops", b"2"), ("a", b"\xff"), ("a", b"2")]
RECORD = Record(7, 1_700_000_000_000, b"k", b'{"n": 1}', pack(HEADERS))
ORIGIN = Origin("orders", 1, 7)
FAILURE = Failure("ValueError", "it fails", "", "f")


@pytest.fixture
async def log() -> MemoryLog:
    log = MemoryLog(Disk(cluster="c"), SystemClock())
    names = ("orders", "shop.f.dlt", "shop.f.retry.5s", "letters", "plain")
    await log.ensure([TopicSpec(name, 2) for name in names])
    return log


def letter(topic: str, *, max_bytes: int | None = None) -> Append:
    sender = Sender("f", topic, 2, "code", max_bytes)
    return dead_letter(RECORD, ORIGIN, FAILURE, attempts=3, sender=sender, now_ms=1_800_000_000_000)


async def test_an_event_of_a_retry_tier_is_the_one_that_failed_at_its_next_attempt(log: MemoryLog) -> None:
    topics = RetryTopics("shop", "f", 2, "code")
    now_ms = 1_800_000_000_000
    await log.append([topics.defer(Deferred(RECORD, ORIGIN, 2, now_ms + 4000, alone=True), now_ms)])
    found = await reopen(log, ("shop.f.retry.5s", 1), 0, dead_letters="shop.f.dlt")
    assert (found.origin, found.attempt, found.function) == (ORIGIN, 3, "f")
    assert (found.record.key, found.record.value, found.record.timestamp) == (b"k", b'{"n": 1}', RECORD.timestamp)
    assert unpack(found.record.headers) == HEADERS


@pytest.mark.parametrize("topic", ["shop.f.dlt", "letters"])
async def test_a_dead_letter_is_the_one_that_failed_at_its_last_attempt(log: MemoryLog, topic: str) -> None:
    await log.append([letter(topic)])
    found = await reopen(log, (topic, 1), 0, dead_letters=topic)
    assert (found.origin, found.attempt, found.function) == (ORIGIN, 3, "f")
    assert (found.record.key, found.record.value, found.record.timestamp) == (b"k", b'{"n": 1}', RECORD.timestamp)
    assert unpack(found.record.headers) == HEADERS


async def test_a_stub_is_reopened_from_its_original_while_that_is_there(log: MemoryLog) -> None:
    await log.append([letter("shop.f.dlt", max_bytes=200)])
    with pytest.raises(BrokerError, match=r"shop\.f\.dlt/1/0 .* the original at orders/1/7 is gone"):
        await reopen(log, ("shop.f.dlt", 1), 0, dead_letters=None)
    for number in range(8):
        await log.append([Append("orders", 1, RECORD.timestamp, b"k", b"%d" % number, RECORD.headers)])
    found = await reopen(log, ("shop.f.dlt", 1), 0, dead_letters=None)
    assert (found.record.value, found.origin) == (b"7", ORIGIN)


@pytest.mark.parametrize("topic", ["shop.f.dlt", "shop.f.retry.5s", "plain"])
async def test_a_record_that_another_has_put_there_is_an_event_of_its_own(log: MemoryLog, topic: str) -> None:
    await log.append([Append(topic, 0, 5, None, b"{}", pack([("a", b"1")]))])
    found = await reopen(log, (topic, 0), 0, dead_letters=None)
    assert (found.origin, found.attempt, found.record.value, unpack(found.record.headers)) == (
        None,
        1,
        b"{}",
        [("a", b"1")],
    )


async def test_origin_headers_in_an_ordinary_topic_mean_nothing(log: MemoryLog) -> None:
    copied = letter("plain")
    await log.append([copied])
    found = await reopen(log, ("plain", 1), 0, dead_letters="letters")
    assert (found.origin, found.attempt, found.record.headers) == (None, 1, copied.headers)
