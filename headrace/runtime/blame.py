"""Blame: which events pay for a worker's death, which are suspects, and which just go back.

Only a proven culprit pays (rule R2): the one event that was running when the worker died, or those past their deadline
when it was killed for that. Several that were running are suspects: each is run again alone, and pays only if the
worker dies under it then. Events that had not started, and all of them when the worker was stopped or died with the
zygote, are innocent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Crashed, Failure, Outcome, TimedOut
from headrace.sandbox.process import Death

Running = tuple[int, int]
"""The number of a chunk and the index of an event in it."""

_INNOCENT = {"stopped", "zygote"}


@dataclass(frozen=True, slots=True)
class Blame:
    """Outcomes of those that pay, and those that are to be run alone."""

    guilty: dict[Running, Outcome] = field(default_factory=dict)
    suspects: frozenset[Running] = frozenset()


def blame(death: Death, running: Collection[Running], spec: FunctionSpec) -> Blame:
    """Who pays for `death`. `running` are events that its page says were running and our own book has in flight."""
    if death.reason in _INNOCENT or not running:
        return Blame()
    pays = [one for one in running if one in death.culprits] or list(running)
    if len(pays) > 1 and not death.culprits:
        return Blame(suspects=frozenset(pays))
    if death.reason == "timeout":
        message = f"still running {spec.timeout:g} s after it started, and did not stop when asked: killed"
        return Blame({one: TimedOut(_failure("HandlerTimeout", message, death)) for one in pays})
    kind = "MemoryLimit" if death.reason == "memory" else "WorkerCrashed"
    return Blame({one: Crashed(_failure(kind, death.detail, death)) for one in pays})


def _failure(kind: str, message: str, death: Death) -> Failure:
    return Failure(kind, message, stack="\n".join(death.output), fingerprint=kind)
