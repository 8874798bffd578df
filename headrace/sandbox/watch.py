"""The watch: a thread beside the handler that sends outcomes that wait and ends events whose time is up.

It costs the main thread nothing per event but writing down what runs: the watch looks every few milliseconds while
events come, and dozes while one takes long or none comes. Whoever finds it dozing rings.

How an event is ended: an async handler is cancelled on its loop; a sync one, or an async one that blocks its loop, gets
a SIGALRM, whose Python handler raises `HandlerTimeout` in the main thread. Both look again, in the main thread, whether
that very event still runs: between the decision and the deed it may have ended. What ignores all that (one long call
into C, a handler that swallows everything), the parent kills.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from headrace.sandbox.invocation import HandlerTimeout
from headrace.sandbox.reports import DELAY_NS, Reports, ScatteredReports

NEVER = 1 << 63
_AGAIN_NS = 100_000_000
_STACK_BYTES = 256 << 10


class Watch:
    """Watches the main thread, which writes `serial` and `deadline_ns` for each event and rings if `dozing`."""

    def __init__(self, reports: Reports, timeout: float) -> None:
        self.serial = 0
        self.deadline_ns = NEVER
        self.dozing = False
        self._timeout_ns = int(timeout * 1e9)
        self._reports = reports
        self._bell = threading.Lock()
        self._bell.acquire()
        self._seen = 0
        self._fired = 0
        self._raised = 0
        self._again_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def start(self, loop: asyncio.AbstractEventLoop | None = None, task: asyncio.Task[Any] | None = None) -> None:
        """Begin. `task` of `loop` runs the handlers and is cancelled; without them handlers are sync."""
        self._loop, self._task = loop, task
        signal.signal(signal.SIGALRM, self._on_alarm)
        start_thread(self._run)

    # -- the main thread ----------------------------------------------------------------------------------------------

    def begin(self, started_ns: int) -> None:
        """An event begins."""
        self.serial += 1
        self.deadline_ns = started_ns + self._timeout_ns
        if self.dozing:
            self.ring()

    def end(self) -> None:
        """It has ended; nothing is raised from now on."""
        self.deadline_ns = NEVER

    def ring(self) -> None:
        """Wake the watch."""
        self.dozing = False
        if self._bell.locked():
            self._bell.release()

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        if self._raised == self.serial or time.monotonic_ns() < self.deadline_ns:
            return
        if self._loop is not None and asyncio.current_task(self._loop) is None:
            return  # between two tasks: raising here would break the loop, and cancelling does it
        self._raised = self.serial
        raise HandlerTimeout

    def _cancel(self, serial: int) -> None:
        if serial == self.serial and time.monotonic_ns() >= self.deadline_ns and self._task is not None:
            self._task.cancel()

    # -- the watch's own ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._bell.acquire(timeout=self._nap())
            self.dozing = False
            now = time.monotonic_ns()
            since = self._reports.pending_since_ns
            if since and now - since >= DELAY_NS:
                send(self._reports)
            if now >= self.deadline_ns:
                self._fire(self.serial, now)

    def _nap(self) -> float:
        """Seconds to sleep; -1 is until rung."""
        if self.serial != self._seen:
            self._seen = self.serial
            return DELAY_NS / 1e9
        self.dozing = True  # first this, then look: whoever changes something after the look finds us dozing
        if self.serial != self._seen:
            self.dozing = False
            return DELAY_NS / 1e9
        now = time.monotonic_ns()
        wake = self.deadline_ns if self._fired != self.serial else self._again_ns
        if since := self._reports.pending_since_ns:
            wake = min(wake, since + DELAY_NS)
        return -1 if wake >= NEVER else max(0.0005, (wake - now) / 1e9)

    def _fire(self, serial: int, now: int) -> None:
        first, self._fired = self._fired != serial, serial
        self._again_ns = NEVER if self._raised == serial else now + _AGAIN_NS
        if self._loop is not None and first:
            self._loop.call_soon_threadsafe(self._cancel, serial)
        elif self._raised != serial:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def __repr__(self) -> str:
        state = "dozing" if self.dozing else "awake"
        return f"<Watch, {state}, event {self.serial}{' running' if self.deadline_ns != NEVER else ''}>"


def start_thread(run: Callable[[], None]) -> None:
    """Run a watch beside the main thread, for the life of the process."""
    before = threading.stack_size(_STACK_BYTES)  # a thread's whole stack counts as data
    threading.Thread(target=run, name="headrace-watch", daemon=True).start()
    threading.stack_size(before)


def send(reports: Reports | ScatteredReports) -> None:
    """Send what is pending, from a watch's thread."""
    try:
        reports.flush()
    except OSError:
        signal.raise_signal(signal.SIGKILL)  # the parent is gone: nobody is served any more
