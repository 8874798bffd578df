"""The settler: writes a shard's settlements, one after another, until there is nothing left to write.

What happens while one is being written gathers in the shard and goes with the next: that is the batching. After one
that publishes nothing, a little more gathers: nobody waits for progress alone, and it costs as much to write. A
settlement that could not be written is kept and written again as it is; no handler runs again for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace.functions.errors import BrokerError, Fenced
from headrace.runtime.ports import Broker, Settlement
from headrace.runtime.shard import Shard

_GATHER_S = 0.01  # after a write that published nothing: progress alone is in no hurry, and costs a sync
_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a settler tells its subscription. `prepare` is awaited before each write, and may raise `BrokerError`."""

    prepare: Callable[[Settlement], Awaitable[None]]
    settled: Callable[[Shard], None]
    trouble: Callable[[Shard], None]
    fenced: Callable[[Shard], None]


class Settler:
    """Settles one shard. `trouble` is why the last write failed, None if it did not."""

    def __init__(self, shard: Shard, broker: Broker, told: Told) -> None:
        self._shard = shard
        self._broker = broker
        self._told = told
        self._task: asyncio.Task[None] | None = None
        self.trouble: BrokerError | None = None

    def kick(self) -> None:
        """There may be something to settle."""
        if self._task is None and (settlement := self._shard.settlement()) is not None:
            self._task = asyncio.create_task(self._settle(settlement))

    async def close(self) -> None:
        """Stop writing; what was not settled will be done again by the next owner."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _settle(self, first: Settlement) -> None:
        settlement: Settlement | None = first
        try:
            while settlement is not None:
                await self._write(settlement)
                self._shard.settled()
                self._told.settled(self._shard)
                if not settlement.appends and not self._shard.careful:
                    await asyncio.sleep(_GATHER_S)
                settlement = self._shard.settlement()
        except Fenced:
            self._told.fenced(self._shard)
        finally:
            self._task = None

    async def _write(self, settlement: Settlement) -> None:
        pause = _SHORTEST_PAUSE_S
        while True:
            try:
                await self._told.prepare(settlement)
                await self._broker.settle(settlement)
            except Fenced:
                raise
            except BrokerError as error:
                self._tell(error)
            else:
                return self._tell(None)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _tell(self, trouble: BrokerError | None) -> None:
        if repr(trouble) != repr(self.trouble):  # another reason is news, too
            self.trouble = trouble
            self._told.trouble(self._shard)

    def __repr__(self) -> str:
        state = f"in trouble: {self.trouble}" if self.trouble else "writing" if self._task else "quiet"
        return f"<Settler of {self._shard.partition[0]}/{self._shard.partition[1]}, {state}>"
