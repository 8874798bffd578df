"""What a guarantee asks of a broker, and what it does when progress cannot be read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from headrace.compose import engine_of, workshop
from headrace.functions.errors import DeclarationError
from headrace.runtime.clock import SystemClock
from headrace.runtime.ports import Append, Settlement, TopicSpec
from headrace.runtime.settings import read_settings
from headrace.triggers.brokers.memory import Disk, MemoryLog

FUNCTIONS = """
from headrace import Context, function

@function("orders", emits="seen", guarantee="{guarantee}")
def note(order: dict, ctx: Context) -> None:
    ctx.emit("seen", order)
"""


class Nobody:
    async def assigned(self, partitions: object) -> None: ...

    async def revoked(self, partitions: object) -> None: ...


async def with_unreadable_progress(log: MemoryLog) -> None:
    """Three orders on two partitions; what the group settled on the first one is of a later version."""
    await log.ensure([TopicSpec("orders", 2)])
    await log.append([Append("orders", n % 2, 0, None, json.dumps({"n": n}).encode(), b"") for n in range(3)])
    handed: list[int] = []

    class Epochs(Nobody):
        async def assigned(self, partitions: object) -> None:
            handed.extend(one.epoch for one in partitions if one.partition == ("orders", 0))  # type: ignore[attr-defined]

    member = await log.join("shop.note", ["orders"], Epochs())
    await log.settle(Settlement("shop.note", ("orders", 0), handed[0], 0, b"HP\x09later"))
    await member.leave()


async def run(folder: Path, log: MemoryLog, guarantee: str) -> tuple[list[str], list[int]]:
    """What is blocked in the end, and the orders seen."""
    (folder / "functions.py").write_text(FUNCTIONS.replace("{guarantee}", guarantee))
    settings = read_settings(folder, app="shop", target=str(folder / "functions.py"))
    async with workshop(settings, folder) as shop:
        engine = engine_of(shop, log, [])
        try:
            await engine.open()
            async with asyncio.timeout(60):
                await engine.until_idle()
            blocked = engine.blocked
        finally:
            await engine.close(5.0)
    bounds = (await log.topics())["seen"].bounds
    records = [r for p in range(len(bounds)) for r in (await log.read(("seen", p), 0, 100)).records]
    return blocked, sorted(json.loads(record.value or b"")["n"] for record in records)


async def test_at_least_once_repeats_what_unreadable_progress_covered(tmp_path: Path) -> None:
    log = MemoryLog(Disk(cluster="c"), SystemClock())
    await with_unreadable_progress(log)
    assert await run(tmp_path, log, "at-least-once") == ([], [0, 1, 2])


async def test_effectively_once_stops_that_partition_names_it_and_goes_on_with_the_others(tmp_path: Path) -> None:
    log = MemoryLog(Disk(cluster="c"), SystemClock())
    await with_unreadable_progress(log)
    (blocked,), seen = await run(tmp_path, log, "effectively-once")
    assert seen == [1]
    for word in ("note", "partition 0 of 'orders'", "stopped", "HP", "'shop.note'"):
        assert word in blocked


async def test_effectively_once_is_refused_where_there_are_no_transactions(tmp_path: Path) -> None:
    log = MemoryLog(Disk(cluster="c", transactional=False), SystemClock())
    with pytest.raises(DeclarationError, match=r"functions\.py:\d+: note: guarantee='effectively-once' needs transac"):
        await run(tmp_path, log, "effectively-once")
    assert await log.topics() == {}, "nothing was touched"
