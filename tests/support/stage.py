"""The real engine with real workers on a log in memory: emit events, watch what becomes of each."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab import PATIENCE, PREAMBLE

from headrace.compose import Workshop, engine_of, plan_of, reread, workshop
from headrace.runtime.clock import SystemClock
from headrace.runtime.engine import Engine
from headrace.runtime.hooks import hookimpl
from headrace.runtime.ports import Append, Record, TopicSpec
from headrace.runtime.reload import Reloaded
from headrace.runtime.result import Result
from headrace.runtime.settings import Settings, read_settings
from headrace.sandbox.headers import unpack
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.output import Line
from headrace.triggers.brokers.memory import Disk, MemoryLog


@dataclass
class Seen:
    """An observer that keeps what it is told."""

    states: list[tuple[str, str]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @hookimpl
    def function_state(self, function: str, state: str, reason: str) -> None:
        _ = function
        self.states.append((state, reason))
        self.changed.set()

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        _ = function
        self.results += results
        self.changed.set()

    @hookimpl
    def output(self, function: FunctionSpec, lines: Sequence[Line]) -> None:
        _ = function
        self.lines += lines
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Stage:
    """A log with one topic `orders` of one partition, and an engine that serves the functions of `folder`."""

    folder: Path
    log: MemoryLog
    engine: Engine
    seen: Seen
    shop: Workshop
    settings: Settings

    def write(self, source: str, name: str = "functions.py") -> None:
        """Put other code into a file."""
        (self.folder / name).write_text(PREAMBLE + textwrap.dedent(source))

    async def reload(self) -> Reloaded:
        """Serve what the files have now."""
        shop = replace(await reread(self.shop, self.settings), strict=True)
        return await self.engine.reload(plan_of(shop, self.log, watched=True), 5.0)

    async def emit(self, events: Iterable[tuple[str | None, Any]]) -> None:
        """Append events: keys and data."""
        await self.log.append([_append(key, data) for key, data in events])

    async def records(self, topic: str) -> list[Record]:
        """All that is in a topic."""
        journals = self.log.disk.topics[topic].journals
        return [record for journal in journals for record in journal.records]

    async def letters(self, function: str) -> list[dict[str, str]]:
        """The headers of a function's dead letters."""
        return [
            {name: value.decode() for name, value in unpack(record.headers)}
            for record in await self.records(f"shop.{function}.dlt")
        ]

    async def idle(self) -> None:
        """Until all there is has been handled."""
        await asyncio.wait_for(self.engine.until_idle(), 3 * PATIENCE)


@asynccontextmanager
async def stage(folder: Path, source: str, *events: tuple[str | None, Any]) -> AsyncIterator[Stage]:
    """Functions that are served, on a log that has `events` already."""
    (folder / "functions.py").write_text(PREAMBLE + textwrap.dedent(source))
    log, seen = MemoryLog(Disk(cluster="c"), SystemClock()), Seen()
    await log.ensure([TopicSpec("orders", 1), TopicSpec("out", 1)])
    await log.append([_append(key, data) for key, data in events])
    settings = read_settings(folder, app="shop", target=str(folder / "functions.py"))
    async with workshop(settings, folder) as shop:
        engine = engine_of(shop, log, [seen], watched=True)
        try:
            await engine.open()
            yield Stage(folder, log, engine, seen, shop, settings)
        finally:
            await engine.close(5.0)


def _append(key: str | None, data: Any) -> Append:
    value = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Append("orders", 0, 1_700_000_000_000, None if key is None else key.encode(), value, b"")
