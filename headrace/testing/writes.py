"""Writes of the runtime to the log, counted; and a crash right before or right after one of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from headrace.testing.history import History
from headrace.triggers.brokers.memory import Crash, Faults, Step

_SETTLEMENTS = {"settle", "progress"}
_WRITES = {"append", *_SETTLEMENTS}


class CrashPoint(NamedTuple):
    """Where the runtime dies: right before or right after its `write`-th write, from 1."""

    moment: Literal["before", "after"]
    write: int

    def __str__(self) -> str:
        return f"right {self.moment} write {self.write}"


class Writes(Faults):
    """Sees every step of the runtime's client. `made` says of each write what it was."""

    def __init__(self, history: History, crash: CrashPoint | None) -> None:
        self.made: list[str] = []
        self._history = history
        self._crash = crash

    def before(self, step: Step) -> None:
        """See `Faults.before`."""
        if step.action in _WRITES:
            self.made.append(_words(step))
            self._die_at("before")

    def after(self, step: Step) -> None:
        """See `Faults.after`."""
        if step.action in _WRITES:
            if step.action in _SETTLEMENTS:
                self._history.settled(step.group, step.partition)
            self._die_at("after")

    def _die_at(self, moment: Literal["before", "after"]) -> None:
        if self._crash == CrashPoint(moment, len(self.made)):
            self._crash = None  # once
            raise Crash(f"right {moment} write {len(self.made)}")

    def __repr__(self) -> str:
        return f"<Writes: {len(self.made)}, to die {self._crash or 'never'}>"


def _words(step: Step) -> str:
    topic, number = step.partition or ("", 0)
    what = f"{step.records} records" if step.records != 1 else "1 record"
    return f"{step.group} settled {topic}/{number} with {what}" if step.group else f"{what} appended"
