"""A runtime's membership in a group: which partitions it has, and from where it fetches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Assigned, Fetched, Partition
from headrace.triggers.brokers.sqlite.reader import Reader, Want, fetch
from headrace.triggers.brokers.sqlite.watch import Watch

_IDLE = 1.0


class SqliteMember:
    """Implements `ports.Member`. `id` is what it owns partitions by.

    `follow` is awaited with the topics it is to subscribe to, and calls `gain` and `lose`; `give_up` once, by `leave`.
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002
        group: str,
        assigned: Mapping[int, Assigned],
        reader: Reader,
        watch: Watch,
        follow: Callable[[Sequence[str]], Awaitable[None]],
        give_up: Callable[[Sequence[Partition]], Awaitable[None]],
    ) -> None:
        self.id = id
        self.group = group
        self._numbers = {one.partition: tp for tp, one in assigned.items()}
        self._offsets: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._reader = reader
        self._watch = watch
        self._bell = watch.bell()
        self._follow = follow
        self._give_up = give_up
        self._left = False
        self._first = 0

    def __repr__(self) -> str:
        state = "left" if self._left else f"{len(self._numbers)} partitions, {len(self._paused)} paused"
        return f"<SqliteMember of {self.group}: {state}>"

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """See `ports.Member.poll`; waits a second at most. Partitions that are ready share the limit."""
        self._check_joined()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _IDLE
        while not self._left:
            self._bell.clear()
            fetched = await self._fetch(limit)
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
        await self._follow(list(dict.fromkeys(topics)))

    @property
    def numbers(self) -> Mapping[Partition, int]:
        """The number (`tp`) of each partition it has."""
        return dict(self._numbers)

    def gain(self, assigned: Mapping[int, Assigned]) -> None:
        """These are its as well from now on, by `tp`."""
        self._numbers.update({one.partition: tp for tp, one in assigned.items()})

    def lose(self, partitions: Sequence[Partition]) -> None:
        """These are not its any more; nothing of them is fetched."""
        for partition in partitions:
            del self._numbers[partition]
            self._offsets.pop(partition, None)
        self._paused.difference_update(partitions)

    async def leave(self) -> None:
        """See `ports.Member.leave`. Doing it twice does nothing."""
        if self._left:
            return
        self._left = True
        self._bell.set()
        await self._give_up(list(self._numbers))

    def _check_joined(self) -> None:
        if self._left:
            raise BrokerError(f"this member has left group {self.group!r}: join again to poll")

    def _check(self, partition: Partition) -> None:
        if partition not in self._numbers:
            topic, number = partition
            raise BrokerError(f"partition {number} of {topic!r} is not assigned to this member of {self.group!r}")

    async def _fetch(self, limit: int) -> list[Fetched]:
        if not (wants := self._wants()):
            return []
        fetched = await self._reader.do(partial(fetch, wants=wants, limit=limit))
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
