"""The post from a worker to its runtime: everything comes in the order it was sent, each thing a little late."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from simulation.loop import SimulatedLoop
from simulation.process import Process


class Post:
    """Calls back in the runtime's process. What is on its way when the worker dies still comes."""

    def __init__(self, runtime: Process, loop: SimulatedLoop, random: Random) -> None:
        self._runtime = runtime
        self._loop = loop
        self._random = random
        self._delivered = 0.0

    def send(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Have it called there."""
        self._delivered = max(self._delivered, self._loop.now + self._random.choice([0.0, 0.0002, 0.001]))
        self._runtime.call_at(self._delivered, callback, *arguments)

    def __repr__(self) -> str:
        return f"<Post to {self._runtime!r}>"
