"""A client's membership in a group: what it has, from where it fetches, and how it takes what the group tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Assigned, Fetched, Partition, Rebalance
from headrace.triggers.brokers.memory.client import Client
from headrace.triggers.brokers.memory.faults import Step
from headrace.triggers.brokers.memory.group import Group


class MemoryMember:
    """Implements `ports.Member` for the runtime and `Seat` for its group. `id` is what it owns partitions by.

    A member that was put out while its client was frozen or its handler took too long is told so (`revoked`) as soon as
    it can hear it, and then joins again by itself.
    """

    def __init__(self, client: Client, group: Group, topics: Sequence[str], rebalance: Rebalance) -> None:
        self.id = f"{client.name}-{group.next_number()}"
        self.topics = topics
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._client = client
        self._group = group
        self._rebalance = rebalance
        self._owned: dict[Partition, None] = {}  # as the runtime knows it; in the order it came
        self._offsets: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._out: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._left = False
        self._first = 0

    def __repr__(self) -> str:
        out = " and put out" if self._out.done() else ""
        state = "left" if self._left else f"{len(self._owned)} partitions, {len(self._paused)} paused{out}"
        return f"<MemoryMember {self.id} of {self._group.name}: {state}>"

    # -- what the runtime does ------------------------------------------------------------------------------------

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """See `ports.Member.poll`; waits `idle_s` of the client's clock at most."""
        self._check_joined()
        client = self._client
        deadline = client.clock.monotonic() + client.times.idle
        while True:
            await client.turn()
            if self._left:
                return []
            seen = client.disk.version
            fetched = self._fetch(limit)
            patience = deadline - client.clock.monotonic()
            if fetched or patience <= 0:
                return fetched
            await client.watch.change(seen, patience)

    def seek(self, partition: Partition, offset: int) -> None:
        """See `ports.Member.seek`."""
        self._check(partition)
        self._offsets[partition] = max(0, offset)
        self._client.watch.ring()

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        """See `ports.Member.pause`."""
        for partition in partitions:
            self._check(partition)
        if paused:
            self._paused.update(partitions)
        else:
            self._paused.difference_update(partitions)
            self._client.watch.ring()

    async def subscribe(self, topics: Sequence[str]) -> None:
        """See `ports.Member.subscribe`. Raises what `revoked` or `assigned` raise, being out then."""
        await self._client.turn()
        self._check_joined()
        names = list(dict.fromkeys(topics))
        self._client.disk.partitions(names)
        self.topics = names
        if self.joined.done():  # else it comes back from having been put out, with these
            self.joined = asyncio.get_running_loop().create_future()
            self._group.rebalance()
        await asyncio.shield(self.joined)
        await self._client.turn()

    async def leave(self) -> None:
        """See `ports.Member.leave`. Doing it twice does nothing. Raises what `revoked` raises, having left."""
        if self._left or self._client.is_closed:
            return
        await self._client.thawed()
        self._left, self.topics = True, ()
        self._client.watch.ring()
        if self.id in self._group.seats:
            self.joined = asyncio.get_running_loop().create_future()
            self._group.rebalance()
            await self.joined
        elif self._task is not None:
            await asyncio.wait({self._task})
        if not self._client.is_closed:
            self._client.check()
        self._client.seats.pop(self, None)
        if self._failure is not None:
            raise self._failure

    @property
    def is_settled(self) -> bool:
        """See `ports.Member.is_settled`."""
        return self.id in self._group.seats and self._group.is_stable

    # -- what the group does --------------------------------------------------------------------------------------

    async def let_go(self, partitions: Sequence[Partition]) -> None:
        """See `Seat.let_go`. Nothing of them is fetched any more; they can still be settled."""
        self._stop(partitions)
        await self._tell(lambda: self._revoke(partitions))

    async def take(self, partitions: Sequence[Assigned]) -> None:
        """See `Seat.take`."""
        await self._tell(lambda: self._assign(partitions))

    def settled(self) -> None:
        """See `Seat.settled`."""
        if not self.joined.done():
            self.joined.set_result(None)

    def evicted(self) -> None:
        """See `Seat.evicted`."""
        if not self._out.done():
            self._out.set_result(None)
        if self._failure is not None or not self._client.is_open:
            self._stop(list(self._owned))
            self._owned.clear()
            self._end_joining()
        else:
            self._task = self._client.start(self._return(self._task), f"return of {self.id}")

    def ended(self) -> None:
        """See `Seat.ended`."""
        self._end_joining()

    def _end_joining(self) -> None:
        if self.joined.done():
            return
        if self._failure is not None and not self._left:
            self.joined.set_exception(self._failure)
        else:
            self.joined.set_result(None)

    async def _tell(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call the runtime, as a task of its client, until that is done or the member is out.

        One whose handler fails or takes too long is put out; one whose client died is, when its session is over.
        """
        waiting: set[asyncio.Future[None]] = {self._out}
        if self._client.is_open:
            self._task = self._client.start(self._call(call), f"rebalance of {self.id}")
            waiting.add(self._task)
        clock, seconds = self._client.clock, self._client.times.rebalance
        late = clock.call_at(clock.monotonic() + seconds, lambda: self._group.evict(self))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not self._client.is_open:
                await asyncio.wait({self._out})
        finally:
            late()
        if self._failure is not None:
            self._group.evict(self)

    async def _call(self, call: Callable[[], Awaitable[None]]) -> None:
        await self._client.thawed()
        if self._client.is_open and not self._out.done():
            await self._guarded(call)

    async def _guarded(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except Exception as failure:  # noqa: BLE001  (it is raised to who joined, leaves or polls)
            self._failure = failure

    async def _assign(self, partitions: Sequence[Assigned]) -> None:
        self._owned.update(dict.fromkeys(one.partition for one in partitions))
        await self._rebalance.assigned(partitions)

    async def _revoke(self, partitions: Sequence[Partition]) -> None:
        await self._rebalance.revoked(partitions)
        for partition in partitions:
            self._owned.pop(partition, None)

    async def _return(self, before: asyncio.Task[None] | None) -> None:
        """What a live member does that finds itself put out: finish what it was told, give all up, join again."""
        await self._client.thawed()
        if before is not None and not before.done():
            await asyncio.wait({before})
        if lost := list(self._owned):
            self._stop(lost)
            await self._guarded(lambda: self._revoke(lost))
        if self._failure is not None or self._left or not self._client.is_open:
            self._end_joining()
            return
        self._out = asyncio.get_running_loop().create_future()
        self._group.enter(self)

    # -- fetching -------------------------------------------------------------------------------------------------

    def _stop(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._offsets.pop(partition, None)
        self._paused.difference_update(partitions)

    def _check_joined(self) -> None:
        if self._left:
            raise BrokerError(f"this member has left group {self._group.name!r}: join again to poll")
        if self._failure is not None:
            raise BrokerError(
                f"this member is out of group {self._group.name!r}, because a rebalance failed in it "
                f"({self._failure}): join again"
            ) from self._failure

    def _check(self, partition: Partition) -> None:
        if partition not in self._owned:
            topic, number = partition
            raise BrokerError(f"partition {number} of {topic!r} is not assigned to this member of {self._group.name!r}")

    def _fetch(self, limit: int) -> list[Fetched]:
        self._client.begin(Step(self._client.name, "fetch", self._group.name))
        ready = self._ready()
        found: list[Fetched] = []
        for waiting, partition in zip(range(len(ready), 0, -1), ready, strict=True):
            if (share := -(-limit // waiting)) <= 0:
                break
            found.append(self._take(partition, share))
            limit -= len(found[-1].records)
        return found

    def _ready(self) -> list[Partition]:
        disk = self._client.disk
        ready = [
            partition
            for partition, offset in self._offsets.items()
            if partition not in self._paused and offset < disk.journal(partition).end
        ]
        # Another one goes first each time: what does not divide evenly, and a limit below their number, goes round.
        self._first += 1
        turn = self._first % len(ready) if ready else 0
        return ready[turn:] + ready[:turn]

    def _take(self, partition: Partition, limit: int) -> Fetched:
        client, journal = self._client, self._client.disk.journal(partition)
        step = Step(client.name, "fetch", self._group.name, partition)
        offset = max(journal.start, self._offsets[partition] - client.faults.rewind(step))
        records, after = journal.take(offset, limit)
        if records and (some := max(1, client.faults.take(step, len(records)))) < len(records):
            records, after = records[:some], records[some - 1].offset + 1
        self._offsets[partition] = after
        return Fetched(partition, records, after)
