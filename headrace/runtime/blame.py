"""Blame: which events pay for a worker's death, and which go back uncharged.

Only a proven culprit pays (rule R2): the event that was running when the worker died, if it was the only one. Events
that had not started, and those that ran when the zygote died or the worker was stopped, were not to blame.
"""

from __future__ import annotations

from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Crashed, Failure, Outcome, TimedOut
from headrace.sandbox.process import Death

Running = tuple[int, int]
"""The number of a chunk and the index of an event in it."""


def outcomes_of(death: Death, spec: FunctionSpec) -> dict[Running, Outcome]:
    """The outcomes of the events that a death is to be charged to."""
    if death.reason in {"stopped", "zygote"} or len(death.running) != 1:
        return {}
    if death.reason == "timeout":
        message = f"still running {spec.timeout:g} s after it started, and did not stop when asked: killed"
        return {death.running[0]: TimedOut(_failure("HandlerTimeout", message, death))}
    kind = "MemoryLimit" if death.reason == "memory" else "WorkerCrashed"
    return {death.running[0]: Crashed(_failure(kind, death.detail, death))}


def _failure(kind: str, message: str, death: Death) -> Failure:
    return Failure(kind, message, stack="\n".join(death.output), fingerprint=kind)
