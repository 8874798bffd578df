"""History: every attempt of every event, in the order they ended, and whether it became durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.functions.names import group_of
from headrace.runtime.hooks import hookimpl
from headrace.runtime.ports import Partition
from headrace.runtime.result import Result
from headrace.runtime.verdict import Again, GiveBack
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import WORDS, Done, Failure, Outcome, Postponed, Skipped, failure_in
from headrace.sandbox.wire import Chunk
from headrace.testing.views import Attempt, StoredEvent, emitted_views

_Place = tuple[str, Partition, int]

Logs = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class _Ended:
    """An attempt, and the group and the partition with whose progress it becomes durable."""

    attempt: Attempt
    claim: tuple[str, Partition]
    durable: bool = False


class History:
    """Observes the runtime (see `headrace.runtime.hooks`). `at` says how many seconds have passed."""

    def __init__(self, app: str, cluster: str, at: Callable[[], float]) -> None:
        self._app = app
        self._cluster = cluster
        self._at = at
        self._ended: list[_Ended] = []
        self._logs: dict[_Place, Logs] = {}

    @property
    def attempts(self) -> Sequence[Attempt]:
        """All attempts until now."""
        return [ended.attempt for ended in self._ended]

    def ran(self, function: str, chunk: Chunk, index: int, logs: Logs) -> None:
        """An event ran, or a batch from that index on, and logged this."""
        tasks = chunk.tasks[index:]
        for task in tasks:
            self._logs[function, (chunk.topic, chunk.partition), task.offset] = logs

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts ended."""
        for result in results:
            if not isinstance(result.verdict, GiveBack):
                claim = (group_of(self._app, function.name), result.partition)
                self._ended.append(_Ended(self._attempt(function.name, result), claim))

    def settled(self, group: str, partition: Partition | None) -> None:
        """What ended of that partition is durable now."""
        for ended in reversed(self._ended):
            if ended.claim == (group, partition):
                if ended.durable:
                    break
                ended.durable = True

    def crashed(self) -> None:
        """What is not durable is lost."""
        for ended in self._ended:
            if not ended.durable:
                ended.durable = True
                ended.attempt = replace(ended.attempt, lost=True)

    def _attempt(self, function: str, result: Result) -> Attempt:
        outcome, record = result.outcome, result.record
        error = _failure(outcome)
        emits = outcome.emits if isinstance(outcome, Done) else ()
        return Attempt(
            function=function,
            event=StoredEvent.of(result.partition, record, self._cluster),
            attempt=result.attempt,
            outcome="failed" if isinstance(outcome, Postponed) else WORDS[type(outcome)],
            at=self._at(),
            error_type=error.type or None,
            message=error.message or None,
            stack=error.stack,
            retry_in=result.verdict.delay_ms / 1000 if isinstance(result.verdict, Again) else None,
            emitted=emitted_views(emits, self._cluster),
            logs=self._logs.pop((function, result.partition, record.offset), ()),
        )

    def __repr__(self) -> str:
        return f"<History of {self._app}: {len(self._ended)} attempts>"


def _failure(outcome: Outcome) -> Failure:
    """What went wrong, or why it was skipped; nothing where it was done."""
    if isinstance(outcome, Skipped):
        return Failure("", f"{outcome.reason}: {outcome.type}" if outcome.type else outcome.reason)
    return failure_in(outcome) or Failure("", "")
