"""Listens to the worker of one invocation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from headrace.runtime.blame import blame
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Crashed, Done, Failure, Outcome
from headrace.sandbox.process import Death, Line, Worker
from headrace.sandbox.wire import Report


class Watch:
    """Waits for the one outcome, and keeps what the worker says."""

    def __init__(self, spec: FunctionSpec) -> None:
        self._spec = spec
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.logs: list[dict[str, Any]] = []

    def reported(self, _worker: Worker, report: Report) -> None:
        """The outcome came."""
        if not self.outcome.done():
            self.outcome.set_result(report.outcomes[0] or Done())

    def died(self, _worker: Worker, death: Death) -> None:
        """It will not come."""
        if not self.outcome.done():
            guilty = blame(death, death.running, self._spec).guilty
            unexplained = Crashed(Failure("WorkerCrashed", death.detail, "\n".join(death.output)))
            self.outcome.set_result(next(iter(guilty.values()), unexplained))

    def said(self, _worker: Worker, lines: Sequence[Line]) -> None:
        """It printed or logged."""
        self.logs += [
            {"stream": line.stream, "text": line.text, "level": line.level, "fields": dict(line.fields or {})}
            for line in lines
        ]

    def __repr__(self) -> str:
        return f"<Watch of {self._spec.name}, {'ended' if self.outcome.done() else 'waiting'}, {len(self.logs)} lines>"
