"""Processes of the simulated machine: what can be killed and frozen, and which of them runs."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.loop import SimulatedLoop

_PROCESS: ContextVar[Process] = ContextVar("process")


class Process:
    """An operating-system process: what belongs to it, and whether it can run."""

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.ready: deque[events.Handle] = deque()
        self.context = copy_context()
        self.context.run(_PROCESS.set, self)
        self._loop = loop

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this process."""
        return self._loop.create_task(coroutine, context=self.context)

    def call_at(self, when: float, callback: Callable[..., Any], *arguments: Any) -> events.TimerHandle:
        """A callback of this process."""
        return self._loop.call_at(when, callback, *arguments, context=self.context)

    def kill(self) -> None:
        """Nothing of it runs again."""
        self.alive = False
        self.ready.clear()

    def __repr__(self) -> str:
        state = "dead" if not self.alive else "frozen" if self.frozen else f"{len(self.ready)} callbacks ready"
        return f"<Process {self.name}: {state}>"


def process_of(context: Context) -> Process | None:
    """The process that a context belongs to."""
    return context.get(_PROCESS)


def running() -> Process:
    """The process that runs now."""
    return _PROCESS.get()
