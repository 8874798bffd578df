"""An event every 5 ms, or a request, for as long as it is somebody's turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from _kafka_work import Failed

PERIOD_S = 0.005

Send = Callable[[int], Awaitable[bool]]
"""Sends one event or request; whether it was taken."""


class Stream:
    """Sends numbered events on a fixed schedule, however long each takes. `sent` is how many were begun."""

    def __init__(self, send: Send) -> None:
        self.sent = 0
        self.refused: set[int] = set()
        self._send = send
        self._under_way: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Within; what was begun then is waited for by `settled`."""
        flow = asyncio.create_task(self._flow())
        try:
            yield
        finally:
            flow.cancel()
            await asyncio.gather(flow, return_exceptions=True)

    async def settled(self) -> None:
        """Until all that was sent is answered. Raises `Failed` if some could not be sent."""
        for end in await asyncio.gather(*self._under_way, return_exceptions=True):
            if isinstance(end, BaseException):
                raise Failed(f"an event could not be sent: {type(end).__name__}: {end}") from end

    async def _flow(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self._under_way.add(loop.create_task(self._one(self.sent)))
            self.sent += 1
            due_s = max(due_s + PERIOD_S, loop.time())
            await asyncio.sleep(due_s - loop.time())

    async def _one(self, number: int) -> None:
        if not await self._send(number):
            self.refused.add(number)
        task = asyncio.current_task()
        assert task is not None
        self._under_way.discard(task)  # one that failed stays, for `settled`
