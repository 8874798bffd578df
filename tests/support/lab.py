"""What tests of workers share: a zygote, a folder for user code, and an ear for what workers tell."""

from __future__ import annotations

import asyncio
import itertools
import json
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.sandbox.headers import Header, pack
from headrace.sandbox.manifest import FunctionSpec, Manifest
from headrace.sandbox.outcome import Done, Outcome
from headrace.sandbox.process import Death, Line, Worker, WorkerSpec, Zygote
from headrace.sandbox.target import find_target
from headrace.sandbox.wire import Chunk, Outlet, Report, Task

PATIENCE = 60.0
MISSING: Any = object()  # in the place of an outcome while those of later events have come

PREAMBLE = """\
import asyncio, ctypes, os, signal, socket, struct, subprocess, sys, threading, time
from pathlib import Path
from pydantic import BaseModel
from headrace import Context, Event, EmitRefused, Reject, Retry, RetryAfter, Sandbox, function
"""
SAYS = """
@function("orders", emits="out")
def tell(data: dict, ctx: Context) -> None:
    ctx.emit("out", [%s])
"""


async def wait_until(condition: Callable[[], Any], what: str = "it") -> None:
    """Poll a condition of the outside world (processes, files) until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come to pass"
        await asyncio.sleep(0.01)


@dataclass
class Ear:
    """A listener that remembers."""

    outcomes: dict[int, list[Outcome | None]] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def reported(self, worker: Worker, report: Report) -> None:
        assert not self.deaths, "a report after the death"
        self.reports.append(report)
        known = self.outcomes.setdefault(report.chunk, [])
        known.extend([MISSING] * (report.first + len(report.outcomes) - len(known)))
        for index, outcome in enumerate(report.outcomes, report.first):
            assert known[index] is MISSING, "an outcome that was reported before"
            known[index] = outcome
        self.changed.set()

    def died(self, worker: Worker, death: Death) -> None:
        self.deaths.append(death)
        self.changed.set()

    def said(self, worker: Worker, lines: Sequence[Line]) -> None:
        self.lines.extend(lines)
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something to be told."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def outcomes_of(self, chunk: int, count: int) -> list[Outcome | None]:
        await self.until(lambda: self.deaths or self.known(chunk) >= count)
        assert not self.deaths, self.deaths
        return self.outcomes[chunk]

    def known(self, chunk: int) -> int:
        """How many outcomes of a chunk came."""
        return sum(outcome is not MISSING for outcome in self.outcomes.get(chunk, ()))

    async def death(self) -> Death:
        await self.until(lambda: self.deaths)
        return self.deaths[0]

    async def line(self, text: str) -> Line:
        """The first line that says `text`."""
        await self.until(lambda: any(line.text == text for line in self.lines))
        return next(line for line in self.lines if line.text == text)


@dataclass
class Lab:
    """Writes user code, reads its manifest, starts workers of it."""

    folder: Path
    zygote: Zygote
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, source: str, name: str = "functions.py") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PREAMBLE + textwrap.dedent(source))
        return path

    async def manifest(self, target: str | None = None) -> Manifest:
        return await self.zygote.read_manifest(find_target(target, self.folder), "shop")

    async def spec(
        self, name: str | None = None, *, environment: dict[str, str] | None = None, partitions: int = 4
    ) -> WorkerSpec:
        functions = (await self.manifest()).functions
        function: FunctionSpec = next(f for f in functions if name in {None, f.name})
        outlets = dict.fromkeys(function.emits, Outlet(partitions))
        return WorkerSpec(find_target(None, self.folder), function, "shop", "cluster-1", environment or {}, outlets)

    async def start(self, source: str, name: str | None = None, **options: Any) -> tuple[Worker, Ear]:
        """A worker of the (first) function in `source`."""
        self.write(source)
        ear = Ear()
        return await self.zygote.spawn(await self.spec(name, **options), ear), ear

    async def told(self, expression: str, **options: Any) -> Any:
        """What `expression` is inside of a handler."""
        worker, ear = await self.start(SAYS % expression, **options)
        chunk = self.chunk(task())
        worker.send(chunk)
        (outcome,) = await ear.outcomes_of(chunk.id, 1)
        await worker.stop(5)
        assert isinstance(outcome, Done), outcome
        return json.loads(outcome.emits[0].value or b"null")[0]

    def chunk(self, *tasks: Task) -> Chunk:
        return Chunk(next(self.numbers), "orders", 2, list(tasks))


def task(
    value: bytes | None = b"{}",
    *,
    offset: int = 0,
    key: bytes | None = None,
    headers: Sequence[Header] = (),
    attempt: int = 1,
    epoch: int = 0,
) -> Task:
    return Task(offset, 1_700_000_000_000, key, value, pack(headers), attempt, epoch)


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    async with Zygote() as zygote:
        yield Lab(folder, zygote)
