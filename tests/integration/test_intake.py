"""The intake of a function: what it cannot foresee is told, and does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.compose import engine_of, workshop
from headrace.runtime.clock import SystemClock
from headrace.runtime.hooks import hookimpl
from headrace.runtime.ports import Append, Fetched, TopicSpec
from headrace.runtime.settings import read_settings
from headrace.runtime.state import State
from headrace.triggers.brokers.memory import Disk, MemoryLog

FUNCTIONS = """
from headrace import Context, function

@function("orders", emits="seen")
def note(order: dict, ctx: Context) -> None:
    ctx.emit("seen", order)
"""


class Odd(MemoryLog):
    """A log whose members fail once in a way nobody thought of."""

    failed = 0

    async def join(self, *arguments: Any, **options: Any) -> Any:
        member = await super().join(*arguments, **options)
        poll = member.poll

        async def failing(limit: int) -> Sequence[Fetched]:
            if not self.failed:
                self.failed += 1
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
            return await poll(limit)

        member.poll = failing  # type: ignore[method-assign]
        return member


class States:
    """An observer that notes the states of functions."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    @hookimpl
    def function_state(self, function: str, state: str, reason: str) -> None:
        self.seen.append((state, reason))


async def test_an_error_nobody_thought_of_is_a_state_with_its_reason_and_fetching_goes_on(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    log, states = Odd(Disk(cluster="c"), SystemClock()), States()
    await log.ensure([TopicSpec("orders", 1), TopicSpec("seen", 1)])
    await log.append([Append("orders", 0, 0, None, b"{}", b"")])
    settings = read_settings(tmp_path, app="shop", target=str(tmp_path / "functions.py"))
    async with workshop(settings, tmp_path) as shop:
        engine = engine_of(shop, log, [states])
        try:
            await engine.open()
            async with asyncio.timeout(60):
                while (await log.topics())["seen"].bounds[0].end == 0:
                    await log.changed(1.0)
        finally:
            await engine.close(5.0)
    assert [reason for state, reason in states.seen if state == State.PAUSED.value and "invalid start byte" in reason]
