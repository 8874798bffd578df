"""How long each event took, as observers of a watched run see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import stage

SLOW_MS = 1000
BATCH_MS = 60
KINDS = {
    "one after another": ("", "def handle(data: dict) -> None:\n    time.sleep(data['ms'] / 1000)"),
    "async": ("", "async def handle(data: dict) -> None:\n    await asyncio.sleep(data['ms'] / 1000)"),
    "at once": (
        ", concurrency=4",
        "async def handle(data: dict) -> None:\n    await asyncio.sleep(data['ms'] / 1000)",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_event_has_its_own_duration(tmp_path: Path, kind: str) -> None:
    options, handler = KINDS[kind]
    events = [(f"k{n}", {"ms": SLOW_MS if n == 3 else 0}) for n in range(6)]
    async with stage(tmp_path, f'@function("orders"{options})\n{handler}\n', *events) as scene:
        await scene.idle()
        spent = {result.record.offset: result.spent_ns for result in scene.seen.results}
        assert spent[3] >= SLOW_MS * 1_000_000
        assert all(ns > 0 for ns in spent.values())
        assert max(spent, key=spent.__getitem__) == 3


@pytest.mark.parametrize("options", ["", ", concurrency=2"])
async def test_events_of_a_batch_share_its_duration(tmp_path: Path, options: str) -> None:
    source = f"""
from headrace import Batch
@function("orders", batch=Batch(size=3, wait=0.05){options})
async def handle(data: list[dict]) -> None:
    await asyncio.sleep({BATCH_MS / 1000})
"""
    async with stage(tmp_path, source, *[(f"k{n}", {}) for n in range(3)]) as scene:
        await scene.idle()
        spent = [result.spent_ns for result in scene.seen.results]
        assert len(spent) == 3
        assert all(ns >= BATCH_MS * 1_000_000 for ns in spent)
        assert len(set(spent)) == 1


async def test_what_a_crash_ended_has_no_duration(tmp_path: Path) -> None:
    source = """
@function("orders", retry=Retry(attempts=1))
def handle(data: dict) -> None:
    os._exit(3)
"""
    async with stage(tmp_path, source, ("k", {})) as scene:
        await scene.idle()
        assert [result.spent_ns for result in scene.seen.results if type(result.outcome).__name__ == "Crashed"] == [0]
