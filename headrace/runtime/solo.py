"""Events run one by one in a worker of their own: no pool, no log, no second attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from headrace.functions.errors import SandboxError
from headrace.runtime.blame import blame
from headrace.sandbox.outcome import Crashed, Done, Failure, Outcome
from headrace.sandbox.process import Death, Line, Worker, WorkerSpec, Zygote
from headrace.sandbox.wire import Chunk, Report

_WORKERS = 3


class Solo:
    """Runs one event after another, and says how each ended. What the handler prints and logs is told to `hear`.

    When the worker dies, the event ends with it if it is to blame for that (see `blame`): crashed, or timed out. Else
    (it had not begun, or the zygote died and took the worker along) it is run again in another worker, three in all;
    what none of them has run is crashed, for the reason the last one died of. The next event gets a worker that lives.

    `patience` is how many seconds the import and the setup may take, each; None for what they may in production.
    """

    def __init__(
        self, zygote: Zygote, spec: WorkerSpec, hear: Callable[[Sequence[Line]], None], patience: float | None = None
    ) -> None:
        if spec.function is None:
            raise SandboxError("an event is run by a function; the specification of the worker names none")
        self._function = spec.function
        self._hear = hear
        self._spawn = partial(zygote.spawn, spec, self)
        if patience is not None:
            self._spawn = partial(self._spawn, ready_timeout=patience, setup_timeout=patience)
        self._worker: Worker | None = None
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def start(self) -> Worker:
        """The worker that takes the next event, started unless there is one that lives. Raises as `Zygote.spawn`."""
        if self._worker is None or self._worker.death.done():
            self._worker = await self._spawn()
        return self._worker

    async def run(self, chunk: Chunk) -> Outcome:
        """How the one event of this chunk ends. Raises as `start` if it needs another worker."""
        ended = await self._once(chunk)
        for _ in range(_WORKERS - 1):
            if isinstance(ended, Death):
                ended = await self._once(chunk)
        return _crashed(ended) if isinstance(ended, Death) else ended

    async def close(self, grace: float) -> None:
        """Let the worker end in order; it is killed after `grace` seconds."""
        if self._worker is not None:
            await self._worker.stop(grace)

    async def _once(self, chunk: Chunk) -> Outcome | Death:
        """The outcome, or a death that the event had no part in."""
        worker = await self.start()
        self._outcome = asyncio.get_running_loop().create_future()
        worker.send(chunk)
        ends: list[asyncio.Future[Any]] = [self._outcome, worker.death]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._outcome.done():
            return self._outcome.result()
        death = worker.death.result()
        return next(iter(blame(death, death.running, self._function).guilty.values()), death)

    def __repr__(self) -> str:
        return f"<Solo of {self._function.name}: {self._worker or 'no worker yet'}>"

    # -- what the worker does -----------------------------------------------------------------------------------------

    def reported(self, _worker: Worker, report: Report) -> None:
        """The one event has ended."""
        if not self._outcome.done():
            self._outcome.set_result(report.outcomes[0] or Done())

    def died(self, worker: Worker, death: Death) -> None:
        """Whoever waits for an outcome sees it by `Worker.death`."""

    def said(self, _worker: Worker, lines: Sequence[Line]) -> None:
        """It printed or logged."""
        self._hear(lines)


def _crashed(death: Death) -> Crashed:
    return Crashed(Failure("WorkerCrashed", death.detail, "\n".join(death.output), fingerprint="WorkerCrashed"))
