"""Loads: one after another, when `Settling` says so, and what it says follows from them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from headrace.cli.dev.scope import Kind
from headrace.cli.dev.settling import Do, Found, Settling

_LONG_S = 1.0  # what takes longer than this, a module that waits when it is imported, is given up if files change
_SLOW_S = 3.0  # what takes longer than this is told
_LOOK_S = 0.1


class Code(Protocol):
    """What is loaded, and served or told of."""

    async def load(self, kinds: AbstractSet[Kind]) -> Found:
        """Load it, after changes of these kinds."""
        ...

    async def serve(self) -> None:
        """Serve what was loaded last."""
        ...

    def tell(self, found: Found) -> None:
        """What was loaded last cannot be served (`BROKEN`), or is served already (`SAME`): say what is to be said."""
        ...


class Loads:
    """Never two at once; a change during one causes one more. `on_slow` is called, once, for each that takes long."""

    def __init__(self, code: Code, on_slow: Callable[[], None], settling: Settling | None = None) -> None:
        self._code = code
        self._on_slow = on_slow
        self._settling = settling or Settling()
        self._kinds: set[Kind] = set()
        self._moved = asyncio.Event()

    def changed(self, kinds: AbstractSet[Kind]) -> None:
        """Something changed."""
        self._kinds |= kinds
        self._settling.changed(time.monotonic(), patient=kinds == {Kind.INSTALLED})
        self._moved.set()

    async def run(self) -> None:
        """Load, serve and tell until cancelled."""
        while True:
            await self._until_due()
            await self._load()

    async def _until_due(self) -> None:
        while (due_s := self._settling.due_s) is None or due_s > time.monotonic():
            self._moved.clear()
            try:
                async with asyncio.timeout(None if due_s is None else max(0.0, due_s - time.monotonic())):
                    await self._moved.wait()
            except TimeoutError:
                continue

    async def _load(self) -> None:
        kinds = frozenset(self._kinds)
        self._settling.begin(time.monotonic())
        found = await self._found(kinds)
        do = self._settling.ended(time.monotonic(), found)
        if do is Do.WAIT:
            return
        self._kinds.clear()
        if do is Do.SERVE:
            await self._code.serve()
        else:
            self._code.tell(found)

    async def _found(self, kinds: AbstractSet[Kind]) -> Found:
        """What a load finds; nothing, if it is given up because it takes long and another one is due."""
        load = asyncio.ensure_future(self._code.load(kinds))
        try:
            await asyncio.wait([load], timeout=_LONG_S)
            slow_s = time.monotonic() + _SLOW_S - _LONG_S
            while not load.done() and not self._settling.is_outdated:
                await asyncio.wait([load], timeout=_LOOK_S)
                if time.monotonic() >= slow_s and not load.done():
                    self._on_slow()
                    slow_s = math.inf
            load.cancel()
            await asyncio.wait([load])
            return Found.SAME if load.cancelled() else load.result()
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Loads: {self._settling!r}>"
