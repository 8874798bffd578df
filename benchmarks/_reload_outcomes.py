"""What handlers did, told by themselves through a pipe: which code ran, for which event, and when.

The same few lines in every project: one write, which never mixes with another's and is never lost.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

HANDLERS, HELPER = "handlers", "helper"
PARTS = (HANDLERS, HELPER)
FUNCTIONS = ("confirm", "ship")

_OUTCOME = struct.Struct(
    "=QqIIB"
)  # event, nanoseconds of the system's monotonic clock, versions, number of the function

TELL = f"""
import os
import struct
import time

OUTCOME = struct.Struct({_OUTCOME.format!r})
pipe = None

def tell(function: int, handlers: int, helper: int, event: int) -> None:
    global pipe
    at_ns = time.monotonic_ns()
    if pipe is None:
        pipe = os.open({{pipe!r}}, os.O_WRONLY)
    os.write(pipe, OUTCOME.pack(event, at_ns, handlers, helper, function))
"""


class Outcomes:
    """All that was told. `counts` is by function and event."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[int, int]] = Counter()
        self.told = 0
        self._first: dict[tuple[str, int, int], int] = {}  # by part, version and function
        self._rest = b""
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def through(cls, pipe: Path) -> AsyncIterator[Outcomes]:
        """Make the pipe and read it."""
        os.mkfifo(pipe)
        # Open for both, so that it does not end when a handler's process does.
        file = os.fdopen(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0)
        outcomes = cls()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _Reader(outcomes), file)
        try:
            yield outcomes
        finally:
            transport.close()

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) // _OUTCOME.size * _OUTCOME.size
        self._rest = data[whole:]
        for event, at_ns, handlers, helper, function in _OUTCOME.iter_unpack(data[:whole]):
            self.told += 1
            self.counts[function, event] += 1
            for part, version in ((HANDLERS, handlers), (HELPER, helper)):
                before = self._first.get((part, version, function), at_ns)
                self._first[part, version, function] = min(before, at_ns)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def more(self) -> None:
        """Until anything is told."""
        told = self.told
        await self.until(lambda: self.told > told)

    def firsts(self, part: str, version: int) -> Sequence[int]:
        """When each function that has run this version did so first, the earliest first."""
        found = (self._first.get((part, version, function)) for function in range(len(FUNCTIONS)))
        return sorted(at_ns for at_ns in found if at_ns is not None)

    def missing(self, event: int) -> int:
        """How many functions have not had this event."""
        return sum(not self.counts[function, event] for function in range(len(FUNCTIONS)))

    def repeated(self, events: Collection[int]) -> int:
        """How often a function had one of these events that it had before."""
        return sum(times - 1 for (_, event), times in self.counts.items() if event in events)


class _Reader(asyncio.Protocol):
    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def data_received(self, data: bytes) -> None:
        self._outcomes.feed(data)
