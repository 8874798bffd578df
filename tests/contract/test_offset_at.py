"""Finding an offset by append time. The records are stamped with it: some brokers know no other time of a record."""

from __future__ import annotations

import time

import pytest

from headrace.functions.errors import UnknownTopic
from headrace.runtime.ports import Append


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _append_later(broker, value: bytes, than_ms: int) -> int:
    """Append once the clock is past `than_ms`; a time not after that of the append."""
    while now_ms() <= than_ms:
        await broker.changed(0.001)
    before = now_ms()
    await broker.append([Append("orders", 0, before, None, value, b"")])
    return before


async def test_the_first_record_appended_at_or_after_a_time_is_found(broker):
    if not broker.features.seek_by_time:
        pytest.skip("this broker cannot seek by time")
    times = [await _append_later(broker, b"0", 0)]
    for n in range(1, 20):
        times += [await _append_later(broker, b"%d" % n, now_ms())]
    assert [await broker.offset_at(("orders", 0), moment) for moment in times] == list(range(20))


async def test_before_all_records_is_the_first_and_after_all_the_end(broker, order):
    await broker.append([order(b"x") for _ in range(5)])
    assert await broker.offset_at(("orders", 0), 0) == 0
    assert await broker.offset_at(("orders", 0), now_ms() + 60_000) == 5


async def test_an_empty_partition_answers_its_end(broker):
    assert await broker.offset_at(("orders", 1), 0) == 0


async def test_an_unknown_topic_is_refused(broker):
    with pytest.raises(UnknownTopic):
        await broker.offset_at(("nowhere", 0), 0)
