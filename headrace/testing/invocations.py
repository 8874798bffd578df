"""Invocations in a test: those of a worker, but in this process and at virtual times.

What a handler logs is kept instead of being printed for the parent process. What it emits has the virtual time. What
ends the test itself (Ctrl-C, `pytest.fail()`, a skip) is no failure of the handler, and goes through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from structlog.stdlib import BoundLogger

from headrace.functions.emits import Emit
from headrace.functions.event import Event
from headrace.functions.signature import Handler
from headrace.sandbox.batches import BatchInvocation
from headrace.sandbox.invocation import HandlerTimeout, Invocation
from headrace.sandbox.outcome import Divided, Emitted, Outcome, TimedOut
from headrace.sandbox.usercode import UserCode
from headrace.sandbox.wire import Chunk, Start, Task
from headrace.testing.contexts import recording_logger

_FAILURES = (Exception, SystemExit, HandlerTimeout, asyncio.CancelledError)

Outcomes = list[Outcome | None]


class LocalInvocation(Invocation):
    """Runs single events. `logs` is what was logged since it was emptied last."""

    def __init__(self, handler: Handler, user_code: UserCode, start: Start, now_ms: Callable[[], int]) -> None:
        super().__init__(handler, user_code, start)
        self.logs: list[MutableMapping[str, Any]] = []
        self._now_ms = now_ms

    async def attempt(self, chunk: Chunk, task: Task, is_late: Callable[[], bool]) -> Outcomes:
        """Handle one event; its outcome alone in a list. `is_late` says whether its time is up."""
        outcome = await self.run(chunk, task, time.monotonic_ns(), is_late)
        return [self.timed_out(HandlerTimeout()) if is_late() and not isinstance(outcome, TimedOut) else outcome]

    def _logger(self, event: Event | None) -> BoundLogger:
        bound = {} if event is None else {"event_id": event.id}
        return recording_logger(self.logs, function=self._name, **bound)

    def _place(self, emit: Emit, now_ms: int) -> Emitted:
        now_ms = self._now_ms()
        moment = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().encode()
        headers = [(name, moment if name == "ce_time" else value) for name, value in emit.headers]
        return super()._place(emit._replace(headers=headers), now_ms)

    def _ended_by(self, error: BaseException, late: bool) -> Outcome:
        if not isinstance(error, _FAILURES):
            raise error
        return super()._ended_by(error, late)


class LocalBatches(LocalInvocation, BatchInvocation):
    """Runs batches."""

    async def attempt(self, chunk: Chunk, task: Task, is_late: Callable[[], bool]) -> Outcomes:  # noqa: ARG002
        """Handle all events of a chunk; an outcome for each."""
        outcomes = await self.run_batch(chunk, time.monotonic_ns(), is_late)
        was_told = any(isinstance(outcome, TimedOut | Divided) for outcome in outcomes)
        return self.late_batch(chunk, HandlerTimeout()) if is_late() and not was_told else outcomes
