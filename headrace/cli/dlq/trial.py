"""A trial: events through a function's code, one after another, in a worker of its own and without a log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.functions.errors import SandboxError
from headrace.runtime.blame import blame
from headrace.runtime.clock import SystemClock
from headrace.runtime.letters import DeadLetter
from headrace.runtime.ports import Record
from headrace.runtime.redrive import redrive_topic_of, redriven
from headrace.runtime.retrytopic import RetryTopics
from headrace.sandbox.outcome import NOT_RUN, Done, Failure, NotRun, Outcome
from headrace.sandbox.process import Death, Line, Worker, WorkerSpec, Zygote
from headrace.sandbox.wire import Chunk, Report, Task

LOST = Failure("lost", "its value was too large for a dead letter, and the original is gone", fingerprint="lost")
_TRIES = 3


class Trial:
    """Runs the events of dead letters as a redrive would, and keeps what they emit to itself.

    A worker that dies under one of them is replaced for the next.
    """

    def __init__(self, zygote: Zygote, spec: WorkerSpec) -> None:
        if spec.function is None:
            raise SandboxError("a trial needs a function")
        self._zygote = zygote
        self._spec = spec
        self._function = spec.function
        self._worker: Worker | None = None
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._number = 0

    def __repr__(self) -> str:
        return f"<Trial of {self._function.name}: {self._number} events sent>"

    async def run(self, letter: DeadLetter, original: Record) -> Outcome:
        """How the event of this letter ends; `original` has its data. An event that was not run is sent once more."""
        outcome: Outcome = NOT_RUN
        for _ in range(_TRIES):
            outcome = await self._run(self._task(letter, original))
            if not isinstance(outcome, NotRun):
                break
        return outcome

    async def close(self) -> None:
        """Let the worker end in order."""
        if self._worker is not None:
            await self._worker.stop(5.0)

    async def _run(self, task: Task) -> Outcome:
        if self._worker is None:
            self._worker = await self._zygote.spawn(self._spec, self)
        self._outcome = asyncio.get_running_loop().create_future()
        self._worker.send(Chunk(task.epoch, redrive_topic_of(self._spec.app, self._function.name), 0, [task]))
        return await self._outcome

    def _task(self, letter: DeadLetter, original: Record) -> Task:
        """The event as the function would meet it. Each is a lane's next epoch: those before it may have failed."""
        self._number += 1
        app, name = self._spec.app, self._function.name
        append = redriven(letter, original, app, partitions=1, now_ms=SystemClock().now_ms())
        record = Record(self._number, append.timestamp, append.key, append.value, append.headers)
        event = RetryTopics(app, name, 1, letter.code).read(record, (append.topic, 0))
        known = event.record
        return Task(
            self._number,
            known.timestamp,
            known.key,
            known.value,
            known.headers,
            epoch=self._number,
            origin=event.origin,
        )

    # -- what the worker does ---------------------------------------------------------------------------------------

    def reported(self, _worker: Worker, report: Report) -> None:
        """Its one event has ended."""
        if not self._outcome.done():
            self._outcome.set_result(report.outcomes[0] or Done())

    def died(self, _worker: Worker, death: Death) -> None:
        """It is gone, and its event with it, unless that had not begun."""
        self._worker = None
        if not self._outcome.done():
            guilty = blame(death, death.running, self._function).guilty
            self._outcome.set_result(next(iter(guilty.values()), NOT_RUN))

    def said(self, _worker: Worker, _lines: Sequence[Line]) -> None:
        """What a handler prints is not what was asked for."""
