"""The driver: does the jobs of a play, with an event loop of its own or on the one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from headrace.functions.errors import HeadraceError
from headrace.sandbox.service import drive
from headrace.testing.job import Job


class Driver:
    """Handlers that need an event loop share one for the app's life: whose, the first play with such a job decides.

    `guest_of` is that loop if it is the caller's.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self.guest_of: asyncio.AbstractEventLoop | None = None
        self._is_playing = False

    def play(self, jobs: Iterator[Job]) -> None:
        """Do all jobs. Raises `HeadraceError` where an event loop runs and a job needs one."""
        self._begin()
        try:
            for job in jobs:
                if job.needs_loop:
                    self._own().run(job.perform())
                else:
                    drive(job.perform())
        finally:
            self._is_playing = False

    async def aplay(self, jobs: Iterator[Job]) -> None:
        """Do all jobs on the event loop that runs."""
        self._begin()
        try:
            for job in jobs:
                if job.needs_loop:
                    self._be_guest()
                await job.perform()
        finally:
            self._is_playing = False

    def close(self) -> None:
        """Close the loop of its own; nothing runs on it any more."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def drop(self) -> None:
        """Close it without running anything."""
        if self._runner is not None:
            loop = self._runner.get_loop()
            loop.set_exception_handler(lambda _loop, _context: None)
            loop.close()
            self._runner = None

    def _begin(self) -> None:
        if self._is_playing:
            raise HeadraceError("this TestApp runs already: its functions cannot run it, and two tasks not at once")
        self._is_playing = True

    def _own(self) -> asyncio.Runner:
        if self.guest_of is not None:
            raise HeadraceError("this TestApp has run with await before; go on so: await app.arun_until_idle()")
        if self._runner is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                self._runner = asyncio.Runner()
            else:
                raise HeadraceError(
                    "an async handler cannot be run from here, where an event loop runs: await app.arun_until_idle()"
                )
        return self._runner

    def _be_guest(self) -> None:
        loop = asyncio.get_running_loop()
        if self._runner is not None or self.guest_of not in {None, loop}:
            raise HeadraceError("this TestApp has run on another event loop before: make one for this one")
        self.guest_of = loop

    def __repr__(self) -> str:
        own = "a loop of its own" if self._runner else "a guest" if self.guest_of else "no loop yet"
        return f"<Driver, {own}>"
