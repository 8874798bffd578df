"""Setups in a test: what goes wrong when one is closed is the test's to know, and a loop that ends closes it."""

from __future__ import annotations

import asyncio

from headrace.functions.declare import Declaration
from headrace.sandbox.setup import Setup
from headrace.sandbox.usercode import UserCode


class LocalSetup(Setup):
    """A `Setup` that keeps in `complaints` what a worker would log. `at_work` says that its handler runs.

    A handler may cancel whatever it finds, and the setup stays open; but the loop of a test ends by cancelling all that
    is left on it, and waits for that: then the setup closes.
    """

    def __init__(self, declaration: Declaration, user_code: UserCode, complaints: list[BaseException]) -> None:
        super().__init__(declaration, user_code)
        self.at_work = False
        self._complaints = complaints

    async def _until_closed(self) -> None:
        while not self._closing.done():
            try:
                await asyncio.shield(self._closing)
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
                if not self.at_work:
                    return

    def _complain(self, error: BaseException) -> None:
        self._complaints.append(error)
