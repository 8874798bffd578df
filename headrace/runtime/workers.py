"""What the runtime needs of workers: those of the sandbox are processes, those of the test kit are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from headrace.sandbox.process import WorkerSpec
from headrace.sandbox.wire import Chunk


class Worker(Protocol):
    """Runs chunks of events, and tells a `sandbox.process.Listener` how each event ended."""

    @property
    def id(self) -> int:
        """What tells it from the function's other workers."""
        ...

    @property
    def generation(self) -> int:
        """Of the code it runs."""
        ...

    @property
    def in_flight(self) -> int:
        """Events sent and not yet reported."""
        ...

    def send(self, chunk: Chunk) -> None:
        """Hand a chunk over. Never blocks."""
        ...

    def recall(self) -> None:
        """Finish what runs; what was sent until now and has not started is answered `NotRun`."""
        ...

    def kill(self) -> None:
        """End it now. What it ran is not to blame."""
        ...


class Pool(Protocol):
    """The workers of one function. `problem` says why none could be started last, None once one was."""

    @property
    def problem(self) -> str | None:
        """Why the last start failed."""
        ...

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers that take work now."""
        ...

    @property
    def leaving(self) -> Sequence[Worker]:
        """The workers that take no more work, and may still run some."""
        ...

    @property
    def starting(self) -> int:
        """How many are being started."""
        ...

    async def open(self) -> None:
        """Bring up the least number of workers."""
        ...

    def demand(self) -> None:
        """Work waits: start one more worker in the background, unless there are enough or it is too soon."""
        ...

    async def close(self, grace: float) -> None:
        """Stop all workers, killing what has not ended after `grace` seconds. Returns when they are gone."""
        ...


@runtime_checkable
class RenewablePool(Pool, Protocol):
    """A pool whose workers can be replaced by those of newer code."""

    async def try_out(self, spec: WorkerSpec, /) -> Worker | None:
        """Start a worker as `spec` says, beside those that serve; None where none serves that it could replace.

        Raises `HeadraceError` if it cannot serve. Nothing has changed until `renew`.
        """
        ...

    def renew(self, spec: WorkerSpec, fresh: Worker | None, /, *, least: int, most: int, idle: float) -> None:
        """From now on workers are as `spec` says, `fresh` from `try_out` the first. The others end what they run."""
        ...
