"""Retry topics with real workers: the handler cannot tell that its event waited in another topic."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.compose import engine_of, workshop
from headrace.runtime.clock import SystemClock
from headrace.runtime.ports import Append, TopicSpec
from headrace.runtime.settings import read_settings
from headrace.sandbox.headers import pack, unpack
from headrace.triggers.brokers.memory import Disk, MemoryLog

FUNCTIONS = """
import os
from pydantic import BaseModel
from headrace import Context, Retry, RetryAfter, function

class Seen(BaseModel):
    attempt: int
    event: str
    place: str
    headers: list[str]

QUICK = Retry(attempts=3, delay=0.01)

@function("orders", emits={"seen": Seen}, order="none", retry=QUICK)
def late(order: dict, ctx: Context) -> Seen:
    if ctx.attempt < order["works_at"]:
        if order.get("asks"):
            raise RetryAfter(0.01)
        if order.get("crashes"):
            os._exit(3)
        raise OSError("not yet")
    event = ctx.event
    return Seen(attempt=ctx.attempt, event=event.id, place=f"{event.topic}/{event.partition}/{event.offset}",
                headers=[name for name, _ in event.headers])
"""


class Shop:
    """An engine of the functions above on a log that bounds progress."""

    def __init__(self, folder: Path) -> None:
        (folder / "functions.py").write_text(FUNCTIONS)
        self.folder = folder
        self.disk = Disk(cluster="c", transactional=False)
        self.store = MemoryLog(self.disk, SystemClock(), progress_limit=4096)

    async def emit(self, *orders: dict[str, Any]) -> None:
        await self.store.ensure([TopicSpec("orders", 3)])
        headers = pack([("x", b"1")])
        appends = [Append("orders", n % 3, 0, b"k", json.dumps(o).encode(), headers) for n, o in enumerate(orders)]
        await self.store.append(appends)

    async def run(self) -> None:
        settings = read_settings(self.folder, app="shop", target=str(self.folder / "functions.py"))
        async with workshop(settings, self.folder) as shop:
            engine = engine_of(shop, self.store, [])
            try:
                await engine.open()
                async with asyncio.timeout(60):
                    await engine.until_idle()
            finally:
                await engine.close(5.0)

    async def records(self, topic: str) -> list[Any]:
        bounds = (await self.store.topics())[topic].bounds
        return [r for p in range(len(bounds)) for r in (await self.store.read((topic, p), 0, 1000)).records]

    async def seen(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in await self.records("seen")]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize("how", [{}, {"asks": True}, {"crashes": True}])
async def test_a_later_attempt_sees_the_event_where_it_first_lay(shop: Shop, how: dict[str, bool]) -> None:
    await shop.emit({"works_at": 1}, {"works_at": 3, **how}, {"works_at": 2, **how})
    await shop.run()
    seen = sorted(await shop.seen(), key=lambda one: one["place"])
    assert seen == [
        {"attempt": 1, "event": "orders/0/0", "place": "orders/0/0", "headers": ["x"]},
        {"attempt": 3, "event": "orders/1/0", "place": "orders/1/0", "headers": ["x"]},
        {"attempt": 2, "event": "orders/2/0", "place": "orders/2/0", "headers": ["x"]},
    ]


async def test_what_is_exhausted_is_dead_lettered_with_its_origin(shop: Shop) -> None:
    await shop.emit({}, {"works_at": 9})
    await shop.run()
    letters = {dict(unpack(r.headers))["headrace-origin-partition"]: r for r in await shop.records("shop.late.dlt")}
    letter = letters[b"1"]
    headers = dict(unpack(letter.headers))
    assert (headers["headrace-origin-topic"], headers["headrace-origin-offset"]) == (b"orders", b"0")
    assert (headers["headrace-attempt"], headers["x"]) == (b"3", b"1")
    assert "headrace-not-before" not in headers


async def test_retry_topics_are_made_at_their_first_record_with_the_partitions_of_the_source(shop: Shop) -> None:
    await shop.emit({"works_at": 1})
    await shop.run()
    assert not [name for name in await shop.store.topics() if ".retry." in name]
    await shop.emit({"works_at": 2})
    await shop.run()
    (name,) = [name for name in await shop.store.topics() if ".retry." in name]
    assert name == "shop.late.retry.1s"
    assert len((await shop.store.topics())[name].bounds) == 3


async def test_what_lies_in_a_retry_topic_is_handled_by_the_next_run_even_in_another_order(shop: Shop) -> None:
    await shop.emit({"works_at": 1})
    retried = pack(
        [
            ("headrace-origin-topic", b"orders"),
            ("headrace-origin-partition", b"1"),
            ("headrace-origin-offset", b"77"),
            ("headrace-origin-timestamp", b"1700000000000"),
            ("headrace-attempt", b"2"),
            ("headrace-not-before", b"1700000000000"),
        ]
    )
    await shop.store.ensure([TopicSpec("shop.late.retry.1h", 3)])
    await shop.store.append([Append("shop.late.retry.1h", 1, 0, b"k", b'{"works_at": 3}', retried)])
    source = (shop.folder / "functions.py").read_text()
    (shop.folder / "functions.py").write_text(source.replace('order="none"', 'order="key"'))
    await shop.run()
    seen = {one["place"]: one["attempt"] for one in await shop.seen()}
    assert seen == {"orders/0/0": 1, "orders/1/77": 3}
