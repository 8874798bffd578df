"""A worker: the process in which one function's events are handled, one after another or several at once.

It is forked from the zygote and has entered its sandbox before anything here runs. In this order: it is told what to
be (`Start`), takes the environment on, imports the target, answers `Ready` or `Broken`, and runs chunks until the
socket ends. How it runs them is `Service` here, one after another, or `ConcurrentService` (see `concurrent`).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from headrace.functions.signature import Handler
from headrace.sandbox.capture import Capture
from headrace.sandbox.concurrent import ConcurrentService
from headrace.sandbox.connection import Connection
from headrace.sandbox.invocation import HandlerTimeout, Invocation
from headrace.sandbox.loader import Loaded, Unserviceable, load
from headrace.sandbox.outcome import Done, Failure, NotRun, Outcome, Rejected, Skipped
from headrace.sandbox.page import Page
from headrace.sandbox.reports import Reports
from headrace.sandbox.watch import Watch
from headrace.sandbox.wire import VERSION, Broken, Chunk, Command, Ready, Start, Task

_NOT_RUN = NotRun()
_ENDED_WELL = (Done, Skipped, Rejected)


def preload() -> None:
    """Import what workers need and this module does not name, so that the zygote has it for all of them."""
    for name in (
        "headrace.functions",
        "asyncio.unix_events",
        "pydantic.main",
        "pydantic.dataclasses",
        "structlog.stdlib",
    ):
        importlib.import_module(name)


def main(ipc_fd: int, page_fd: int, folder: str) -> None:
    """Serve on `ipc_fd` until the parent ends it. `folder` is the worker's own temporary one."""
    connection = Connection(ipc_fd)
    page = Page(page_fd)
    os.close(page_fd)
    capture = Capture()
    capture.install()
    with suppress(ConnectionError):  # the parent is gone, and whoever would be told with it
        start = connection.receive_start()
        if start is not None:
            take_environment(start, folder)
            serve(start, connection, page, capture)
    capture.flush()


def take_environment(start: Start, folder: str) -> None:
    """Only now does a secret enter this process: behind its limits, before user code."""
    os.environ.update({"HOME": folder, "TMPDIR": folder, **start.environment})
    with suppress(OSError):
        os.chdir(start.target.root)


def serve(start: Start, connection: Connection, page: Page, capture: Capture) -> None:
    """Import the target, say how that went, run what comes."""
    try:
        loaded = load(start.target, start.app)
        handler = _choose(loaded, start)
    except Unserviceable as error:
        connection.send(error.broken)
        return
    capture.flush()
    if handler is None:
        connection.send(Ready(VERSION, loaded.code, loaded.manifest()))
        connection.receive()  # nothing comes but the end
        return
    service = ConcurrentService if handler.declaration.concurrency > 1 else Service
    invocation = Invocation(handler, loaded.user_code, start)
    service(invocation, handler, connection, page, capture).run(Ready(VERSION, loaded.code))


def _choose(loaded: Loaded, start: Start) -> Handler | None:
    if start.function is None:
        return None
    if (handler := loaded.handlers.get(start.function)) is None:
        known = ", ".join(loaded.handlers)
        message = f"{start.target.path}: no function is named {start.function!r} any more; it has: {known}"
        raise Unserviceable(Broken("missing", Failure("TargetError", message)))
    return handler


class Service:
    """Runs chunks through one handler, event after event, and reports how each ended."""

    def __init__(
        self, invocation: Invocation, handler: Handler, connection: Connection, page: Page, capture: Capture
    ) -> None:
        self._invocation = invocation
        self._is_async = handler.is_async
        self._connection = connection
        self._page = page
        self._capture = capture
        self._reports = Reports(connection.socket)
        self._watch = Watch(self._reports, handler.declaration.timeout)
        self._lane_of = _LANES[handler.declaration.order]
        self._chunks = 0
        self._task: asyncio.Task[Any] | None = None

    def run(self, ready: Ready) -> None:
        """Serve until the end of input."""
        if self._is_async:
            with asyncio.Runner() as runner:
                runner.run(self._serve_on_loop(ready))
        else:
            self._watch.start()
            self._connection.send(ready)
            drive(self._serve(self._connection.receive_now))

    async def _serve_on_loop(self, ready: Ready) -> None:
        self._task = asyncio.current_task()
        self._watch.start(asyncio.get_running_loop(), self._task)
        self._connection.send(ready)
        await self._serve(self._connection.receive_soon)

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
                outcome = _NOT_RUN
            else:
                outcome = await self._run_task(chunk, index, task, now)
                now = time.monotonic_ns()
                if outcome is not None and not isinstance(outcome, _ENDED_WELL):
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
        self._page.end()
        if self._task is not None:
            while self._task.cancelling():  # the watch's cancellation was meant for this event only
                self._task.uncancel()
        return outcome

    def __repr__(self) -> str:
        return f"<Service, {self._invocation!r}, {self._chunks} chunks>"


def drive(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("a sync handler's pipeline suspended")


# A task's lane within its chunk, whose events are of one partition. A null key is a lane of its own.
_LANES: dict[str, Callable[[Task], object]] = {
    "key": lambda task: task.offset if task.key is None else task.key,
    "partition": lambda _task: None,
    "none": lambda task: task.offset,
}
