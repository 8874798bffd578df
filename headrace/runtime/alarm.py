"""An alarm: one callback, at the nearest of many times."""

from __future__ import annotations

from collections.abc import Callable

from headrace.runtime.ports import Clock


class Alarm:
    """Calls back at the time it was last set to; setting it again moves it."""

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._at_ms: int | None = None
        self._cancel: Callable[[], None] = lambda: None

    def set(self, at_ms: int | None) -> None:
        """Ring at `at_ms` (milliseconds since 1970), or not at all."""
        if at_ms == self._at_ms:
            return
        self._cancel()
        self._at_ms, self._cancel = at_ms, lambda: None
        if at_ms is not None:
            in_s = (at_ms - self._clock.now_ms()) / 1000
            self._cancel = self._clock.call_at(self._clock.monotonic() + in_s, self._ring)

    def _ring(self) -> None:
        self._at_ms = None
        self._callback()

    def __repr__(self) -> str:
        return f"<Alarm, {'not set' if self._at_ms is None else f'set to {self._at_ms} ms'}>"
