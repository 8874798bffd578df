"""A job: user code that is to run now. The runtime stands still meanwhile, and so does its clock."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """`perform` runs it. Unless it `needs_loop` it never suspends, and may be run where no event loop is."""

    needs_loop: bool
    perform: Callable[[], Coroutine[Any, Any, None]]


class Deadline:
    """Real time: an async handler is cancelled when its seconds are up, a sync one is found to be late at its end.

    Without `seconds` there is no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._is_over = False

    def is_late(self) -> bool:
        """Whether the time is up."""
        return self._is_over or (self._until is not None and time.monotonic() >= self._until)

    async def bound(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the call gives, in a task of its own that is cancelled at the end of its time, and with the caller."""
        task = asyncio.get_running_loop().create_task(call(), context=contextvars.copy_context())
        try:
            await asyncio.wait({task}, timeout=self._seconds)
            self._is_over = not task.done()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return task.result()


async def performed(is_async: bool, deadline: Deadline, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a handler's pipeline gives, run as it is to be: a sync one on the spot, without an event loop."""
    awaited: Awaitable[T] = deadline.bound(call) if is_async else call()
    return await awaited
