"""The system's clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class SystemClock:
    """Time as the machine has it; timers run on the event loop that is running when they are set."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back at `when` on the monotonic clock; the returned callable cancels."""
        delay = max(0.0, when - self.monotonic())
        return asyncio.get_running_loop().call_later(delay, callback).cancel

    def __repr__(self) -> str:
        return "<SystemClock>"
