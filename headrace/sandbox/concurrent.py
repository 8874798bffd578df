"""Several events of one worker at once, each in a task of its own on one event loop.

The socket is read as it fills; what came stands in a line-up, from which events start while there are free slots, over
all chunks received. Each event has its own context (what it prints and logs is told apart by that), its own slot on the
page and its own deadline. Outcomes are sent as they become known.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import Any

from headrace.sandbox.capture import Capture
from headrace.sandbox.connection import Connection
from headrace.sandbox.deadlines import Deadlines, Running
from headrace.sandbox.invocation import HandlerTimeout, Invocation
from headrace.sandbox.lineup import Entry, Lineup
from headrace.sandbox.outcome import ENDED_WELL, NOT_RUN, Outcome
from headrace.sandbox.page import Page
from headrace.sandbox.reports import ScatteredReports
from headrace.sandbox.setup import Setup
from headrace.sandbox.wire import Chunk, Ready


class ConcurrentService:
    """Runs up to `concurrency` events at once through one async handler, those of a lane one after another."""

    def __init__(
        self, invocation: Invocation, setup: Setup, connection: Connection, page: Page, capture: Capture
    ) -> None:
        declaration = invocation.handler.declaration
        self._invocation = invocation
        self._setup = setup
        self._connection = connection
        self._page = page
        self._capture = capture
        self._reports = ScatteredReports(connection.socket, timed=invocation.timed)
        self._deadlines = Deadlines(self._reports, page, declaration.timeout, self._start_what_may)
        self._lineup = Lineup(declaration.order)
        self._free = list(reversed(range(declaration.concurrency)))
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: dict[int, int] = {}  # events not concluded, by chunk
        self._chunks = 0
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop
        self._context: contextvars.Context
        self._ended: asyncio.Future[None]

    def run(self, ready: Ready) -> None:
        """Set up, serve until the end of input, close the setup. Raises `Unserviceable`."""
        with asyncio.Runner() as runner, self._connection.guarded(runner.get_loop()):
            runner.run(self._serve(ready))

    async def _serve(self, ready: Ready) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._invocation.state = await self._setup.open()
        self._context = contextvars.copy_context()
        self._ended = loop.create_future()
        self._deadlines.start(loop)
        self._connection.send(ready)
        loop.add_reader(self._connection.socket, self._readable)
        while not self._ended.done():
            try:
                await asyncio.shield(self._ended)
            except asyncio.CancelledError:  # a handler's doing, with all tasks it found
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
        self._ended.result()
        await self._setup.close()

    def _readable(self) -> None:
        try:
            commands = self._connection.poll()
        except Exception as error:  # noqa: BLE001  (whatever it is, a worker that cannot read has to end)
            self._loop.remove_reader(self._connection.socket)
            self._fail(error)
            return
        if commands is None:
            self._loop.remove_reader(self._connection.socket)
            self._is_over = True
            self._end_if_idle()
            return
        for chunk in commands:
            if isinstance(chunk, Chunk):
                self._chunks += 1
                self._left[chunk.id] = len(chunk.tasks)
                self._line_up(chunk)
        self._start_what_may()

    def _line_up(self, chunk: Chunk) -> None:
        self._lineup.offer(chunk, self._chunks)

    def _start_what_may(self) -> None:
        """Start events while slots are free, and give back what was recalled."""
        recalled = self._page.recalled
        while (entry := self._lineup.head) is not None:
            if recalled >= entry.nth:
                self._pass_over(self._lineup.take())
            elif self._free:
                self._start(self._lineup.take(), self._free.pop())
            else:
                return

    def _pass_over(self, entry: Entry) -> None:
        self._conclude(entry, NOT_RUN)

    def _start(self, entry: Entry, slot: int) -> None:
        # Not the context of whoever just ended: what a handler sets must not reach the next event.
        task = self._loop.create_task(self._run_event(entry, slot), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    async def _run_event(self, entry: Entry, slot: int) -> None:
        self._connection.end_child()
        event = self._deadlines.begin(entry, slot)
        outcome = await self._outcome_of(event)
        self._connection.end_child()
        self._deadlines.end(event)
        self._capture.flush_event()
        self._free.append(slot)
        self._conclude(entry, outcome, event.began_ns)
        self._start_what_may()

    async def _outcome_of(self, event: Running) -> Outcome | None:
        entry = event.entry
        try:
            outcome = await self._invocation.run(entry.chunk, entry.task, event.began_ns, event.is_cancelled)
            event.ended = True
        except HandlerTimeout as error:  # it struck beside the handler: while its outcome was being made
            event.ended = True
            outcome = self._invocation.timed_out(error)
        return outcome

    def _conclude(self, entry: Entry, outcome: Outcome | None, began_ns: int | None = None) -> None:
        """How an event ended, and with it those of its lane that will not be run. `began_ns` is None if it was not."""
        now = time.monotonic_ns()
        spent_ns = 0 if began_ns is None else now - began_ns
        well = outcome is None or isinstance(outcome, ENDED_WELL)
        chunk, passed = entry.chunk.id, self._lineup.ended(entry, well=well)
        self._reports.add(chunk, entry.index, outcome, now, spent_ns)
        for behind in passed:  # of the same chunk
            self._reports.add(chunk, behind.index, NOT_RUN, now)
        left = self._left[chunk] = self._left[chunk] - 1 - len(passed)
        if left:
            self._deadlines.stir()
        else:
            del self._left[chunk]
            self._reports.flush()

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        if not self._tasks:
            self._capture.flush()
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_over and not self._tasks and self._lineup.head is None and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def __repr__(self) -> str:
        return f"<ConcurrentService, {self._invocation!r}, {len(self._tasks)} running, {self._lineup!r}>"
