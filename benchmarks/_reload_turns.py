"""A contender at work: started, fed and edited when it is its turn, stopped, its events counted."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from _kafka_work import Failed
from _reload_contender import Contender, Place
from _reload_outcomes import FUNCTIONS, HANDLERS, Outcomes
from _reload_project import Project
from _reload_stream import PERIOD_S, Stream

START_S, RELOAD_S, STOP_S = 60.0, 30.0, 20.0
QUIET_S = 3.0  # no more outcomes are expected after as long without any
FLOWING = 20  # outcomes before an edit, so that its stream is under way
APART_S = 1.1  # between a reload and the next edit: Python tells bytecode that is old by a time in whole seconds


@dataclass(frozen=True, slots=True)
class Edit:
    """When a file was put in place, when each function first ran the new code; ns of the monotonic clock."""

    part: str
    at_ns: int
    firsts_ns: tuple[int, ...]

    @property
    def first_ms(self) -> float:
        """From the edit to the first function that ran it."""
        return (self.firsts_ns[0] - self.at_ns) / 1e6

    @property
    def both_ms(self) -> float:
        """From the edit to the last one."""
        return (self.firsts_ns[-1] - self.at_ns) / 1e6


@dataclass(slots=True)
class Turns:
    """One run of a contender."""

    contender: Contender
    place: Place
    outcomes: Outcomes
    stream: Stream
    project: Project
    process: asyncio.subprocess.Process
    edits: list[Edit] = field(default_factory=list)
    _begun: int = 0  # events sent before it served, some of them to nobody
    _quiet: int = 0  # events that were waited for
    _rested_s: float = 0.0

    async def begin(self) -> None:
        """Until both functions have run."""
        async with self.stream.flowing():
            await self._until(lambda: len(self.outcomes.firsts(HANDLERS, 1)) == len(FUNCTIONS), START_S, "it serves")
        await self.stream.settled()
        self._begun = self._quiet = self.stream.sent
        self._rest()

    async def edit(self, part: str) -> Edit:
        """Edit a file under the stream, and wait until both functions run it."""
        await asyncio.sleep(self._rested_s + APART_S + random.random() / 4 - _now_s())
        async with self.stream.flowing():
            before = self.outcomes.told
            await self._until(lambda: self.outcomes.told >= before + FLOWING, RELOAD_S, "its stream flows")
            await asyncio.sleep(PERIOD_S * random.random())
            at_ns = self.project.edit(part)
            version = self.project.versions[part]
            runs = f"the new {part} run"
            await self._until(lambda: len(self.outcomes.firsts(part, version)) == len(FUNCTIONS), RELOAD_S, runs)
        await self._handled(self._quiet)
        self._quiet = self.stream.sent
        self._rest()
        self.edits.append(Edit(part, at_ns, tuple(self.outcomes.firsts(part, version))))
        return self.edits[-1]

    async def counted(self) -> Mapping[str, int]:
        """What became of all that was sent since it served."""
        await self._handled(self._begun)
        sent, taken = range(self._begun, self.stream.sent), self._taken(self._begun)
        return {
            "events": len(sent),
            "unanswered": len(sent) - len(taken),
            "lost": sum(map(self.outcomes.missing, taken)),
            "twice": self.outcomes.repeated(sent),
        }

    async def _handled(self, since: int) -> None:
        """Until all events from that one on are, or no more come: what is left to do is not for the next one's turn."""
        await self.stream.settled()
        with suppress(TimeoutError):
            while any(map(self.outcomes.missing, self._taken(since))):
                async with asyncio.timeout(QUIET_S):
                    await self.outcomes.more()

    def _taken(self, since: int) -> Sequence[int]:
        return [number for number in range(since, self.stream.sent) if number not in self.stream.refused]

    def _rest(self) -> None:
        self._rested_s = _now_s()

    async def _until(self, condition: Any, limit_s: float, what: str) -> None:
        waiting, ended = (asyncio.ensure_future(one) for one in (self.outcomes.until(condition), self.process.wait()))
        try:
            await asyncio.wait([waiting, ended], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                how = "it ended before" if ended.done() else f"waited {limit_s:g} s until"
                raise Failed(f"{how} {what}: {self._last_words()}")
        finally:
            waiting.cancel()
            ended.cancel()
            await asyncio.gather(waiting, ended, return_exceptions=True)

    def _last_words(self) -> str:
        lines = self.place.complaints.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it complained of nothing"


@asynccontextmanager
async def turns(contender: Contender, place: Place) -> AsyncIterator[Turns]:
    """One that is started and serves; stopped at the end, killed if it does not heed."""
    project = Project(place.folder, contender.handlers, contender.source(place))
    project.write(place.pipe)
    async with (
        Outcomes.through(place.pipe) as outcomes,
        contender.feed(place) as send,
        _serving(contender, place) as process,
    ):
        one = Turns(contender, place, outcomes, Stream(send), project, process)
        await one.begin()
        yield one


@asynccontextmanager
async def _serving(contender: Contender, place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    with place.said.open("wb") as said, place.complaints.open("wb") as complaints:
        process = await asyncio.create_subprocess_exec(
            *contender.command(place),
            cwd=place.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=complaints,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            print(f"{contender.name} does not stop and is killed", file=sys.stderr)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
