"""Runs the events of a worker one after another: what a worker does from `Ready` on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from headrace.sandbox.capture import Capture
from headrace.sandbox.connection import Connection
from headrace.sandbox.invocation import HandlerTimeout, Invocation
from headrace.sandbox.lineup import LANES
from headrace.sandbox.outcome import ENDED_WELL, NOT_RUN, Outcome
from headrace.sandbox.page import Page
from headrace.sandbox.reports import Reports, TimedReports
from headrace.sandbox.setup import Setup
from headrace.sandbox.watch import Watch
from headrace.sandbox.wire import Chunk, Command, Ready, Task

T = TypeVar("T")


class Service:
    """Runs chunks through one handler, event after event, and reports how each ended."""

    def __init__(
        self, invocation: Invocation, setup: Setup, connection: Connection, page: Page, capture: Capture
    ) -> None:
        declaration = invocation.handler.declaration
        self._invocation = invocation
        self._setup = setup
        self._is_async = invocation.handler.is_async
        self._connection = connection
        self._page = page
        self._capture = capture
        self._reports = TimedReports(connection.socket) if invocation.timed else Reports(connection.socket)
        self._watch = Watch(self._reports, declaration.timeout)
        self._lane_of = LANES[declaration.order]
        self._chunks = 0
        self._task: asyncio.Task[Any] | None = None

    def run(self, ready: Ready) -> None:
        """Set up, serve until the end of input, close the setup. Raises `Unserviceable`."""
        if self._is_async:
            with asyncio.Runner() as runner, self._connection.guarded(runner.get_loop()):
                runner.run(self._serve_on_loop(ready))
        elif self._setup.needs_loop:
            with asyncio.Runner() as runner, self._connection.guarded():
                self._serve_without_loop(ready, runner.run)
        else:
            with self._connection.guarded():
                self._serve_without_loop(ready, drive)

    def _serve_without_loop(self, ready: Ready, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._invocation.state = run(self._setup.open())
        self._watch.start()
        self._capture.flush()
        self._connection.send(ready)
        drive(self._serve(self._connection.receive_now))
        run(self._setup.close())

    async def _serve_on_loop(self, ready: Ready) -> None:
        self._invocation.state = await self._setup.open()
        self._task = asyncio.current_task()
        self._watch.start(asyncio.get_running_loop(), self._task)
        self._connection.send(ready)
        await self._serve(self._connection.receive_soon)
        await self._setup.close()

    async def _serve(self, receive: Callable[[], Awaitable[list[Command]]]) -> None:
        while commands := await receive():
            for chunk in commands:
                if isinstance(chunk, Chunk):
                    await self._run_chunk(chunk)

    async def _run_chunk(self, chunk: Chunk) -> None:
        """Run the events of a chunk in order.

        A lane's events are in one chunk at a time: what comes in a later one was sent knowing how this one ended. So
        a lane is blocked for the rest of its chunk, or until a task of a higher epoch, and not beyond.
        """
        self._chunks += 1
        blocked: dict[object, int] = {}
        words, reports, nth = self._page.words, self._reports, self._chunks
        now = time.monotonic_ns()
        reports.begin(chunk.id, now)
        for index, task in enumerate(chunk.tasks):
            outcome: Outcome | None
            if words[0] >= nth or (blocked and blocked.get(self._lane_of(task), -1) >= task.epoch):
                outcome = NOT_RUN
            else:
                outcome = await self._run_task(chunk, index, task, now)
                now = time.monotonic_ns()
                if outcome is not None and not isinstance(outcome, ENDED_WELL):
                    blocked[self._lane_of(task)] = task.epoch
            reports.add(outcome, now)
        self._capture.flush()
        reports.flush()

    async def _run_task(self, chunk: Chunk, index: int, task: Task, now: int) -> Outcome | None:
        watch = self._watch
        try:
            self._page.begin(chunk.id, index, now)
            watch.begin(now)
            outcome = await self._invocation.run(chunk, task, now)
            watch.end()
        except HandlerTimeout as error:  # it struck beside the handler: while its outcome was being made
            watch.end()
            outcome = self._invocation.timed_out(error)
        if self._connection.is_child:  # `end_child`, written out for speed
            os._exit(0)
        self._page.end()
        if self._task is not None:
            self._forget_cancelling()
        return outcome

    def _forget_cancelling(self) -> None:
        while self._task is not None and self._task.cancelling():  # the watch meant this event only
            self._task.uncancel()

    def __repr__(self) -> str:
        return f"<Service, {self._invocation!r}, {self._chunks} chunks>"


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a sync handler's pipeline suspended")
