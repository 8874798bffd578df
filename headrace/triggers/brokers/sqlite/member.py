"""A runtime's membership in a group: which partitions it has, and from where it fetches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Fetched, Partition
from headrace.triggers.brokers.sqlite.reader import A_FEW, Reader, Want, fetch
from headrace.triggers.brokers.sqlite.watch import Watch

_IDLE = 1.0


class Standing(Protocol):
    """How the member stands with its group."""

    @property
    def is_late(self) -> bool:
        """Whether others may have taken over what it has."""
        ...

    @property
    def is_settled(self) -> bool:
        """Whether it has its share."""
        ...

    def check(self) -> None:
        """Raise `BrokerError` if it is out of the group."""
        ...

    async def follow(self, topics: Sequence[str]) -> None:
        """Subscribe to these topics instead."""
        ...

    async def leave(self) -> None:
        """Give everything up."""
        ...


class SqliteMember:
    """Implements `ports.Member`. Its membership says with `gain`, `stop` and `lose` what it may fetch."""

    def __init__(self, group: str, standing: Standing, reader: Reader, watch: Watch) -> None:
        self.group = group
        self._standing = standing
        self._numbers: dict[Partition, int] = {}
        self._offsets: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._reader = reader
        self._watch = watch
        self._bell = watch.bell()
        self._left = False
        self._first = 0
        self._trickles = False  # so little came the last time that the next is likely to be little too

    def __repr__(self) -> str:
        state = "left" if self._left else f"{len(self._numbers)} partitions, {len(self._paused)} paused"
        return f"<SqliteMember of {self.group}: {state}>"

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """See `ports.Member.poll`; waits a second at most. Partitions that are ready share the limit.

        Nothing is begun while the member's heartbeat is late: who knows whose it is.
        """
        self._check_joined()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _IDLE
        while not self._left:
            self._bell.clear()
            fetched = [] if self._standing.is_late else await self._fetch(limit)
            patience = deadline - loop.time()
            if fetched or patience <= 0:
                return fetched
            await self._watch.wait(self._bell, patience)
        return []

    def seek(self, partition: Partition, offset: int) -> None:
        """See `ports.Member.seek`."""
        self._check(partition)
        self._offsets[partition] = max(0, offset)
        self._bell.set()

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        """See `ports.Member.pause`."""
        for partition in partitions:
            self._check(partition)
        if paused:
            self._paused.update(partitions)
        else:
            self._paused.difference_update(partitions)
            self._bell.set()

    async def subscribe(self, topics: Sequence[str]) -> None:
        """See `ports.Member.subscribe`. Only what is new or given up changes hands."""
        self._check_joined()
        await self._standing.follow(list(dict.fromkeys(topics)))

    def gain(self, numbers: Mapping[Partition, int]) -> None:
        """These are its as well from now on; each with its number (`tp`)."""
        self._numbers.update(numbers)

    def stop(self, partitions: Sequence[Partition]) -> None:
        """These are still its, but nothing more of them is fetched."""
        for partition in partitions:
            self._offsets.pop(partition, None)

    def lose(self, partitions: Sequence[Partition]) -> None:
        """These are not its any more."""
        self.stop(partitions)
        for partition in partitions:
            del self._numbers[partition]
        self._paused.difference_update(partitions)

    async def leave(self) -> None:
        """See `ports.Member.leave`. Doing it twice does nothing."""
        if self._left:
            return
        self._left = True
        self._bell.set()
        await self._standing.leave()

    @property
    def is_settled(self) -> bool:
        """See `ports.Member.is_settled`."""
        return self._standing.is_settled

    def _check_joined(self) -> None:
        if self._left:
            raise BrokerError(f"this member has left group {self.group!r}: join again to poll")
        self._standing.check()

    def _check(self, partition: Partition) -> None:
        if partition not in self._numbers:
            topic, number = partition
            raise BrokerError(f"partition {number} of {topic!r} is not assigned to this member of {self.group!r}")

    async def _fetch(self, limit: int) -> list[Fetched]:
        if not (wants := self._wants()):
            return []
        fetched = self._reader.glance(partial(fetch, wants=wants, limit=A_FEW)) if self._trickles else None
        if fetched is None:
            fetched = await self._reader.do(partial(fetch, wants=wants, limit=limit))
        self._trickles = sum(len(one.records) for one in fetched) < A_FEW <= limit
        asked = {want.partition: want.offset for want in wants}
        return [one for one in fetched if self._take(one, asked[one.partition])]

    def _wants(self) -> list[Want]:
        wants = [
            Want(self._numbers[partition], partition, offset)
            for partition, offset in self._offsets.items()
            if partition not in self._paused
        ]
        # Another one goes first each time: what does not divide evenly, and a limit below their number, goes round.
        self._first += 1
        turn = self._first % len(wants) if wants else 0
        return wants[turn:] + wants[:turn]

    def _take(self, fetched: Fetched, asked: int) -> bool:
        # While it was read, the partition may have been sought elsewhere, paused, or given up: then this is dropped.
        partition = fetched.partition
        if self._left or partition in self._paused or self._offsets.get(partition) != asked:
            return False
        self._offsets[partition] = fetched.next
        return True
