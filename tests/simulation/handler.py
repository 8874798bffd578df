"""The handler: what an attempt of an event does and ends as, by its script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.functions.identity import derived_id
from headrace.functions.partition import partition_of
from headrace.sandbox.headers import pack
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Done, Emitted, Failed, Failure, Outcome, Postponed, Rejected, Skipped, TimedOut
from headrace.sandbox.wire import Chunk, Origin, Task
from simulation.script import Script, script_of

if TYPE_CHECKING:
    from simulation.world import World

HARD_S = 2.0


class Handler:
    """The code of one function."""

    def __init__(self, world: World, spec: FunctionSpec) -> None:
        self._world = world
        self._spec = spec

    def attempt(self, chunk: Chunk, task: Task) -> tuple[float, str, Outcome | None]:
        """How many seconds it runs, its kind, and its outcome; a "crash" and a "hang" have none that is told."""
        world, spec = self._world, self._spec
        origin = task.origin or Origin(chunk.topic, chunk.partition, task.offset)
        script = script_of(world.seed, spec, origin, sick=world.scenario.sick, later_s=world.scenario.detour.later_s)
        kind = "null" if task.value is None else script.at(task.attempt)
        seconds = {"timeout": spec.timeout, "hang": spec.timeout + HARD_S, "null": 0.0}.get(kind, script.seconds)
        return seconds, kind, self._outcome(kind, script, origin, task)

    def _outcome(self, kind: str, script: Script, origin: Origin, task: Task) -> Outcome | None:
        match kind:
            case "done":
                return Done(self._emitted(script.emits, origin, task)) if script.emits else None
            case "skip":
                return Skipped("type", "Other")
            case "null":
                return Skipped("null")
            case "reject":
                return Rejected(Failure("Rejected", "no good"))
            case "hopeless":
                return Failed(Failure("KeyError", "never again"), None)
            case "postpone":
                return Postponed(script.later_s)
            case "timeout":
                return TimedOut(Failure("HandlerTimeout", "too late"))
            case _:
                return Failed(Failure("ValueError", "not yet"), script.rule_at(task.attempt, len(self._spec.retry)))

    def _emitted(self, emits: Sequence[str], origin: Origin, task: Task) -> list[Emitted]:
        place = f"{origin.topic}/{origin.partition}/{origin.offset}"
        emitted = []
        for nth, topic in enumerate(emits):
            id_ = derived_id(source="sim", cause=place, app="sim", function=self._spec.name, topic=topic, nth=nth)
            count = self._world.scenario.topics[topic]
            partition = partition_of(id_.encode() if task.key is None else task.key, count)
            value = f"{self._spec.name} {place} {nth} {id_}".encode()
            emitted.append(Emitted(topic, partition, task.timestamp, task.key, value, pack([]), id_))
        return emitted
