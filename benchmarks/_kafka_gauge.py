"""What a case used between its first and its last event: time, CPU and memory of its process and all below it.

From /proc: what is asked of a process tree that lives, at two moments, `getrusage` does not know.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Gauge:
    """`first()` when the first events are at hand, `last()` when the last is handled and settled."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._ended = 0.0
        self._own = self._others = 0.0

    def first(self) -> None:
        """Start the clock; calls after the first do nothing."""
        if self._begun is None:
            self._own, self._others = _cpu_us()
            self._begun = time.perf_counter()

    def last(self) -> None:
        self._ended = time.perf_counter()
        own, others = _cpu_us()
        self._own, self._others = own - self._own, others - self._others
        self._peak_mb = peak_mb()

    def figures(self, events: int) -> dict[str, float]:
        assert self._begun is not None, "no event has come"
        return {
            "events_per_s": events / (self._ended - self._begun),
            "cpu_us": (self._own + self._others) / events,
            "own_cpu_us": self._own / events,
            "child_cpu_us": self._others / events,
            "peak_mb": self._peak_mb,
        }


def peak_mb() -> float:
    """The most each process ever had resident, summed; pages that processes share count in each of them."""
    return sum(_peak_kb(pid) for pid in _family(os.getpid())) / 1024


def _cpu_us() -> tuple[float, float]:
    """Of this process, and of its children; those in steps of a clock tick, 10 ms as a rule."""
    others = sum(_ticks(pid) for pid in _family(os.getpid()) if pid != os.getpid())
    return time.process_time() * 1e6, others * _TICK_US


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in (_PROC / str(pid) / "task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def _ticks(pid: int) -> int:
    with suppress(OSError):
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return int(after_name[11]) + int(after_name[12])
    return 0


def _peak_kb(pid: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
