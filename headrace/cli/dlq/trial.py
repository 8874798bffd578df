"""A trial: events through a function's code, one after another, in a worker of its own and without a log."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.clock import SystemClock
from headrace.runtime.letters import DeadLetter
from headrace.runtime.ports import Record
from headrace.runtime.redrive import redrive_topic_of, redriven
from headrace.runtime.retrytopic import RetryTopics
from headrace.runtime.solo import Solo
from headrace.sandbox.outcome import Failure, Outcome
from headrace.sandbox.process import Line, WorkerSpec, Zygote
from headrace.sandbox.wire import Chunk, Task

LOST = Failure("lost", "its value was too large for a dead letter, and the original is gone", fingerprint="lost")
_GRACE = 5.0


class Trial:
    """Runs the events of dead letters as a redrive would, and keeps what they emit to itself."""

    def __init__(self, zygote: Zygote, spec: WorkerSpec) -> None:
        self._spec = spec
        self._solo = Solo(zygote, spec, _unheard)
        self._number = 0

    def __repr__(self) -> str:
        return f"<Trial of {self._spec.name}: {self._number} events sent>"

    async def run(self, letter: DeadLetter, original: Record) -> Outcome:
        """How the event of this letter ends; `original` has its data."""
        task = self._task(letter, original)
        return await self._solo.run(Chunk(self._number, redrive_topic_of(self._spec.app, self._spec.name), 0, [task]))

    async def close(self) -> None:
        """Let the worker end in order."""
        await self._solo.close(_GRACE)

    def _task(self, letter: DeadLetter, original: Record) -> Task:
        """The event as the function would meet it. Each is a lane's next epoch: those before it may have failed."""
        self._number += 1
        app, name = self._spec.app, self._spec.name
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


def _unheard(_lines: Sequence[Line]) -> None:
    """What a handler prints is not what was asked for."""
