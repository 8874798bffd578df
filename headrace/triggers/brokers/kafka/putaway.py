"""Clients that are not needed any more, or were found hanging: ended aside, so that nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

_MOST_S = 5.0


class Detached:
    """Work that goes on beside, each for a few seconds at most."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Detached: {len(self._tasks)} under way>"

    def put_away(self, stop: Callable[[], Awaitable[Any]], kill: Callable[[], None]) -> None:
        """Await `stop()`, for a few seconds; then `kill()` what it has left."""
        task = asyncio.get_running_loop().create_task(_put_away(stop, kill))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until all has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _put_away(stop: Callable[[], Awaitable[Any]], kill: Callable[[], None]) -> None:
    try:
        with suppress(Exception):  # whatever keeps a client from ending: it is not needed any more
            async with asyncio.timeout(_MOST_S):
                await stop()
    finally:
        kill()
