"""An event loop on virtual time: it stops where a real one would wait, and time passes when it is told to."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs the runtime's tasks, in the order asyncio promises. `failure` is an error that a task of it ended with.

    It has no files and no threads: nothing happens on it between two `turn`s.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._standstill = _Standstill(self.stop)
        self.failure: BaseException | None = None
        super().__init__(self._standstill)
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    @property
    def due(self) -> float | None:
        """In how many seconds the next timer is due, as of the last turn; None if none is set."""
        return self._standstill.due

    def turn(self) -> None:
        """Run until nothing can go on without time passing, or the loop is stopped."""
        if _loop_runs_here():  # a thread runs one loop at a time
            _other_thread().submit(self.run_forever).result()
        else:
            self.run_forever()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, a nanosecond at least unless it is none; what has become due runs in the next turn."""
        if seconds > 0:  # who finds a rest of 1e-15 s to wait for would find it for ever
            self._now = round(self._now + max(seconds, 1e-9), 9)

    def bury(self) -> None:
        """End it with all its tasks. What they do while they end is not looked at."""
        self.set_exception_handler(_ignore)
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.turn()
        self.close()

    def drop(self) -> None:
        """End it where nothing can be run any more."""
        self.set_exception_handler(_ignore)
        self.close()

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failure = self.failure or context.get("exception") or RuntimeError(str(context.get("message")))


class LoopClock:
    """Implements `ports.Clock` on a loop of virtual time, whose second 0 is `start_ms` (milliseconds since 1970)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ms: int) -> None:
        self._loop = loop
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """Virtual milliseconds since 1970."""
        return self._start_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """See `ports.Clock.call_at`."""
        return self._loop.call_at(when, callback).cancel

    def __repr__(self) -> str:
        return f"<LoopClock at {self.monotonic():.3f} s>"


class _Standstill(selectors.SelectSelector):
    """Is asked when nothing is ready: instead of waiting `due` seconds it has the loop stop."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self.due: float | None = None
        self._stop = stop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.due = timeout
            self._stop()
        return []


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@cache
def _other_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="headrace-testing")


def _ignore(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    pass
