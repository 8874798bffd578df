"""A timer on the running event loop that is set again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls back `seconds` after it was started; starting it while it runs changes nothing."""

    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self._seconds = seconds
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, unless it runs."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._ring)

    def stop(self) -> None:
        """Do not call back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self._callback()

    def __repr__(self) -> str:
        return f"<Timer of {self._seconds:g} s, {'running' if self._handle else 'at rest'}>"
