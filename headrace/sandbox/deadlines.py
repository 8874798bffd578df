"""Deadlines of events that run at once: the watch (see `watch`) of a worker with `concurrency` above 1.

A thread beside the event loop sends outcomes that wait, and ends events whose time is up: their task is cancelled on
the loop; one that blocks the loop gets a SIGALRM, whose Python handler raises `HandlerTimeout` in it. Which event's
code is running, its child tasks included, a context variable tells, so that nobody else is struck.

**A blocked loop is charged to who blocks it.** The thread sees that the loop has not turned for 50 ms, and which event
is executing. From then on, back to when the loop was last seen turning, the clock stands still for all events but that
one: siblings that could not go on lose no time, neither here nor by the parent's clock, which it reads off the page.
Shorter delays are everybody's own, as are many short steps of many events: one loop has one core. What holds the
interpreter itself (a long call into C) stops this thread too: then the parent sees that nobody looks any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import FrameType
from typing import Any

from headrace.sandbox.invocation import HandlerTimeout
from headrace.sandbox.lineup import Entry
from headrace.sandbox.page import Page
from headrace.sandbox.reports import DELAY_NS, ScatteredReports
from headrace.sandbox.watch import NEVER, send, start_thread

LOOK_NS = 50_000_000
_AGAIN_NS = 100_000_000
_EVENT = "headrace_event"  # the attribute of a task that says whose it is


class Running:
    """An event that is running. `began_ns` is on the monotonic clock, `started_ns` on the worker's."""

    __slots__ = ("again_ns", "began_ns", "cancelled", "ended", "entry", "slot", "started_ns", "struck", "task")

    def __init__(self, entry: Entry, slot: int, began_ns: int, started_ns: int, task: asyncio.Task[Any]) -> None:
        self.entry = entry
        self.slot = slot
        self.began_ns = began_ns
        self.started_ns = started_ns
        self.task = task
        self.again_ns = 0  # when to ask again; 0 if it was not asked to stop
        self.struck: asyncio.Task[Any] | None = None  # the task of its that `HandlerTimeout` was raised in last
        self.cancelled = self.ended = False

    def is_cancelled(self) -> bool:
        """Whether it was cancelled because its time was up."""
        return self.cancelled

    def __repr__(self) -> str:
        return f"<Running {self.entry.chunk.id}[{self.entry.index}]{', to stop' if self.again_ns else ''}>"


current: ContextVar[Running | None] = ContextVar("headrace-event", default=None)
"""The event whose code is running, inherited by the tasks that the handler starts."""


class Deadlines:
    """Watches the events that run on one event loop. `on_turn` is called on it a few times a second meanwhile."""

    def __init__(self, reports: ScatteredReports, page: Page, timeout: float, on_turn: Callable[[], None]) -> None:
        self.running: set[Running] = set()
        self._timeout_ns = int(timeout * 1e9)
        self._reports = reports
        self._page = page
        self._on_turn = on_turn
        self._loop: asyncio.AbstractEventLoop
        self._lock = threading.Lock()  # the clock, the starts, and the page's slots
        self._stood_ns = 0
        self._asked_ns = 0
        self._turned_ns = 0
        self._counted_ns = 0
        self._blocker: Running | None = None
        self._bell = threading.Lock()
        self._bell.acquire()
        self._dozing = False
        self._serial = 0
        self._seen = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin. Called on the loop whose tasks run the events."""
        self._loop = loop
        loop.set_task_factory(_attributed)  # type: ignore[arg-type]  # typeshed knows it for plain coroutines only
        signal.signal(signal.SIGALRM, self._on_alarm)
        os.register_at_fork(after_in_child=self._forked)
        self._page.looked(time.monotonic_ns())  # an event may hold the interpreter before the watch comes to look
        start_thread(self._run)

    # -- the main thread ----------------------------------------------------------------------------------------------

    def begin(self, entry: Entry, slot: int) -> Running:
        """An event begins, in the current task and context."""
        task = asyncio.current_task()
        assert task is not None
        now = time.monotonic_ns()
        with self._lock:
            event = Running(entry, slot, now, now - self._stood_ns, task)
            self._page.begin(entry.chunk.id, entry.index, event.started_ns, slot)
        setattr(task, _EVENT, event)
        current.set(event)
        if not self.running:
            self._reports.begin(now)
        self.running.add(event)
        self.stir()
        return event

    def end(self, event: Running) -> None:
        """It has ended; nothing was raised in it since it said so itself."""
        self.running.discard(event)
        with self._lock:
            self._page.end(event.slot)

    def stir(self) -> None:
        """Something began or is to be sent: the watch looks within a few milliseconds."""
        self._serial += 1
        if self._dozing:
            self._dozing = False
            if self._bell.locked():
                self._bell.release()

    def is_late(self, event: Running) -> bool:
        """Whether its time is up, on the worker's clock."""
        return time.monotonic_ns() - self._stood_ns >= event.started_ns + self._timeout_ns

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        event, task = current.get(), asyncio.current_task(self._loop)
        if event is None or event.ended or not self.is_late(event):
            return
        if task is None or task is event.struck:  # a callback, where raising reaches nobody; or it is ending already
            return
        event.struck = task
        raise HandlerTimeout

    def _cancel(self, event: Running) -> None:
        self._turn()  # if the loop was blocked until now, it counts before anybody is judged
        if event.ended:
            return
        if self.is_late(event):
            event.cancelled = True
            event.task.cancel()
        else:
            event.again_ns = 0

    def _turn(self) -> None:
        with self._lock:
            now = time.monotonic_ns()
            if self._turned_ns < self._asked_ns <= now - LOOK_NS:
                self._stand_still(now)
            self._turned_ns = now

    def _turned(self) -> None:
        self._turn()
        self._on_turn()

    # -- the watch's own ----------------------------------------------------------------------------------------------

    def _forked(self) -> None:
        """In a child that user code forked there is no watch: what it held is held for ever."""
        self._lock = threading.Lock()

    def _run(self) -> None:
        while True:
            self._bell.acquire(timeout=self._nap())
            self._dozing = False
            now = time.monotonic_ns()
            since = self._reports.pending_since_ns
            if since and now - since >= DELAY_NS:
                send(self._reports)
            if self.running:
                self._look(now)
                self._end_late(now)

    def _nap(self) -> float:
        """Seconds to sleep; -1 is until rung."""
        self._dozing = self._serial == self._seen
        if self._serial != self._seen:  # also if it changed just now: whoever did it may have found us awake
            self._dozing, self._seen = False, self._serial
            return DELAY_NS / 1e9
        now, wake = time.monotonic_ns(), NEVER
        if since := self._reports.pending_since_ns:
            wake = since + DELAY_NS
        if running := list(self.running):
            wake = min(wake, now + LOOK_NS)
            dues = [event.started_ns + self._timeout_ns + self._stood_ns for event in running if not event.again_ns]
            wake = min([wake, *dues])
        return -1 if wake >= NEVER else max(0.0005, (wake - now) / 1e9)

    def _look(self, now: int) -> None:
        """See whether the loop turns; let the clock stand still for those who wait for it."""
        with self._lock:
            self._page.looked(now)
            if now - self._asked_ns < LOOK_NS:
                return
            asks = self._turned_ns >= self._asked_ns
            if asks:
                fresh = now - self._turned_ns < 2 * LOOK_NS
                self._counted_ns = self._turned_ns if fresh else now
                self._asked_ns, self._blocker = now, None
            else:
                self._blocker = self._executing()
                self._stand_still(now)
        if asks:  # not under the lock, which nobody should find taken for as long as a socket takes
            self._loop.call_soon_threadsafe(self._turned)

    def _stand_still(self, now: int) -> None:
        """Nobody's time has passed since it was last counted but the blocker's."""
        blocked, self._counted_ns = max(0, now - self._counted_ns), max(now, self._counted_ns)
        blocker = self._blocker
        self._stood_ns += blocked
        if blocker is not None:
            blocker.started_ns -= blocked
            if not blocker.ended:
                self._page.move_start(blocker.slot, blocker.started_ns)
        self._page.stood(self._stood_ns)

    def _end_late(self, now: int) -> None:
        for event in list(self.running):
            if event.ended or not self.is_late(event):
                continue
            if not event.again_ns:
                event.again_ns = now + _AGAIN_NS
                self._loop.call_soon_threadsafe(self._cancel, event)
            elif now >= event.again_ns and self._executing() in {event, None}:
                event.again_ns = now + _AGAIN_NS
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _executing(self) -> Running | None:
        """The event whose code is running; None if none is, or its task is not ours to know."""
        return getattr(asyncio.current_task(self._loop), _EVENT, None)

    def __repr__(self) -> str:
        return f"<Deadlines of {len(self.running)} events, stood still for {self._stood_ns / 1e9:.3f} s>"


def _attributed(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """The loop's task factory: a task belongs to the event that started it."""
    task = asyncio.Task(coroutine, loop=loop, **options)
    setattr(task, _EVENT, current.get())
    return task
