"""An event loop on virtual time.

One step is one callback. Callbacks belong to *processes*, as operating systems have them: within a process they run in
the order asyncio promises, between processes the seed chooses. A process can be killed (nothing of it ever runs again,
not even a `finally`) and frozen (nothing of it runs until it is thawed). Time passes only when no process can run.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any
from warnings import catch_warnings, simplefilter

from headrace.triggers.brokers.memory import Crash
from simulation.process import Process, process_of

BEGIN_MS = 1_700_000_000_000


class Deadlock(AssertionError):
    """Nothing can ever run again."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module. `on_step` is called after each step."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.now = 1000.0
        self.steps = 0
        self.on_step: Callable[[], None] = lambda: None
        self.uncaught: list[str] = []
        self._random = random
        self._processes: list[Process] = []
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._numbers = count()
        self._tasks: list[tuple[asyncio.Task[Any], Process]] = []
        self.world = self.process("world")
        self.set_exception_handler(self._complain)
        self.set_task_factory(self._keep)

    def process(self, name: str) -> Process:
        """A new process."""
        process = Process(self, name)
        self._processes.append(process)
        return process

    # -- asyncio's side -----------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        process = process_of(handle._context) or self.world  # type: ignore[attr-defined]
        if process.alive:
            process.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> events.TimerHandle:
        timer = events.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _run_once(self) -> None:
        runnable = [process for process in self._processes if process.ready and not process.frozen]
        if not runnable:
            self._pass_time()
            return
        process = runnable[0] if len(runnable) == 1 else self._random.choice(runnable)
        handle = process.ready.popleft()
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        self.steps += 1
        handle._run()  # type: ignore[attr-defined]
        self.on_step()

    def _pass_time(self) -> None:
        """To the next timer; all that are due then become ready, in the order of their times."""
        while self._timers and self._timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heappop(self._timers)
        if not self._timers:
            raise Deadlock("nothing can ever run again")
        self.now = max(self.now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self.now:
            timer = heappop(self._timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            process = process_of(timer._context) or self.world  # type: ignore[attr-defined]
            if process.alive and not timer._cancelled:  # type: ignore[attr-defined]
                process.ready.append(timer)
        if len(self._processes) > 20:
            self._processes = [process for process in self._processes if process.alive]

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        pass  # it is dropped when its time comes

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError("a simulated loop has no real events")

    # -- what tasks leave behind --------------------------------------------------------------------------------------

    def _keep(self, loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Tasks of killed processes must not be collected: that would run their `finally`."""
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        context: Context = options.get("context") or copy_context()
        self._tasks.append((task, process_of(context) or self.world))
        if len(self._tasks) > 4000:
            self._tasks = [one for one in self._tasks if not one[0].done()]
        return task

    def _complain(self, _loop: Any, context: dict[str, Any]) -> None:
        self.uncaught.append(f"{context.get('message')}: {context.get('exception')!r}")

    def failed_tasks(self) -> list[str]:
        """Tasks of live processes that ended with an error that nobody looked at."""
        return [
            f"{task.get_name()}: {task.exception()!r}"
            for task, process in self._tasks
            if process.alive
            and task.done()
            and not task.cancelled()
            and task._log_traceback  # type: ignore[attr-defined]
            and not isinstance(task.exception(), Crash)
        ]

    def bury(self) -> None:
        """End of the world: close what never ended, quietly. A `finally` of the dead may meet anything."""
        self.set_exception_handler(lambda _loop, _context: None)
        with catch_warnings():
            simplefilter("ignore", RuntimeWarning)
            while self._tasks:
                task, _ = self._tasks.pop()
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with suppress(BaseException):
                        task.get_coro().close()  # type: ignore[union-attr]
                elif not task.cancelled():
                    task.exception()
        self._processes.clear()
        self._timers.clear()
        self.close()


class SimulatedClock:
    """Implements `ports.Clock` on a simulated loop; timers belong to the process that sets them."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return BEGIN_MS + round(self._loop.now * 1000)

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._loop.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """See `ports.Clock.call_at`."""
        return self._loop.call_at(when, callback).cancel
