"""A consumer group as its coordinator sees it: who is in it, and who owns what.

The coordinator is on the log's side: it outlives every member. Rebalances are incremental: a partition that stays
with its owner is not touched. Each round first has every old owner let go, then hands out what is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from typing import Protocol

from headrace.runtime.ports import Assigned, Partition
from headrace.triggers.brokers.memory.assignment import assign
from headrace.triggers.brokers.memory.owner import NOBODY, Claim, Owner


class Ownership(Protocol):
    """The disk, by what a coordinator needs of it: which partitions there are, and who owns them."""

    @property
    def owners(self) -> Mapping[Claim, Owner]:
        """Who owns each partition that ever had an owner."""
        ...

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """All partitions of these topics, in order. Raises `UnknownTopic`."""
        ...

    def claim(self, group: str, partition: Partition, member: str) -> Assigned:
        """Make `member` the owner of a partition under a new epoch."""
        ...

    def release(self, group: str, partition: Partition) -> None:
        """Nobody owns the partition until the next claim."""
        ...


class Seat(Protocol):
    """A member, as the coordinator knows it. Its calls return when they are done, or once the member is `evicted`.

    A member that cannot do what it is told has itself put out.
    """

    @property
    def id(self) -> str:
        """What it owns partitions by."""
        ...

    @property
    def topics(self) -> Sequence[str]:
        """What it subscribes to; none if it wants to leave."""
        ...

    async def let_go(self, partitions: Sequence[Partition]) -> None:
        """Finish with these and settle them; they go to another after that."""
        ...

    async def take(self, partitions: Sequence[Assigned]) -> None:
        """These are the member's now."""
        ...

    def settled(self) -> None:
        """It has all it gets for now; a member that wanted to leave is out."""
        ...

    def evicted(self) -> None:
        """It is out of the group, and what it had goes to others without its consent."""
        ...

    def ended(self) -> None:
        """Its client is closed or killed: nothing of it goes on. The group may not know yet."""
        ...


class Group:
    """The members of one group, and the rebalance under way."""

    def __init__(self, name: str, ownership: Ownership) -> None:
        self.name = name
        self.seats: dict[str, Seat] = {}
        self._ownership = ownership
        self._context: Context = copy_context()
        self._wanted: dict[Partition, str] = {}
        self._bounced: set[Partition] = set()
        self._stale = False
        self._round: asyncio.Task[None] | None = None
        self._joins = 0

    @property
    def is_stable(self) -> bool:
        """Whether no rebalance is under way."""
        return self._round is None or self._round.done()

    def next_number(self) -> int:
        """A number for one more member."""
        self._joins += 1
        return self._joins

    def enter(self, seat: Seat) -> None:
        """Take a member in; it gets its share in a rebalance."""
        self.seats[seat.id] = seat
        self.rebalance()

    def evict(self, seat: Seat) -> None:
        """Put a member out without asking it, as when its session is over. One that is out already stays so."""
        if self.seats.pop(seat.id, None) is not None:
            for partition in self.owned(seat):
                self._ownership.release(self.name, partition)
            seat.evicted()
            self.rebalance()

    def rebalance(self, wanted: Mapping[Partition, str] | None = None, bounced: Sequence[Partition] = ()) -> None:
        """Have a rebalance, now or after the one under way.

        `wanted` says which partitions are to go to which members, by id, this once. `bounced` are taken from their
        owner even if they go back to it.
        """
        self._stale = True
        self._wanted.update(wanted or {})
        self._bounced.update(bounced)
        if self.is_stable:
            # In a context of its own: the client whose call this is may die in the middle.
            self._round = asyncio.get_running_loop().create_task(
                self._rebalance(), name=f"rebalance of {self.name}", context=self._context.copy()
            )

    def owned(self, seat: Seat) -> list[Partition]:
        """What a member owns."""
        claims = self._ownership.owners.items()
        return [partition for (group, partition), (owner, _) in claims if group == self.name and owner == seat.id]

    async def _rebalance(self) -> None:
        while self._stale:
            self._stale = False
            wanted, self._wanted = self._wanted, {}
            bounced, self._bounced = self._bounced, set()
            members = list(self.seats.values())
            target = self._target(wanted)
            for seat in members:
                await self._take_back(seat, target, bounced)
            for seat in members:
                await self._hand_out(seat, target)
            for seat in members:
                self._conclude(seat)

    def _target(self, wanted: Mapping[Partition, str]) -> dict[Partition, str]:
        topics = {id_: seat.topics for id_, seat in self.seats.items() if seat.topics}
        names = dict.fromkeys(name for subscribed in topics.values() for name in subscribed)
        current = {partition: seat.id for seat in self.seats.values() for partition in self.owned(seat)}
        return assign(self._ownership.partitions(list(names)), topics, current, wanted)

    async def _take_back(self, seat: Seat, target: Mapping[Partition, str], bounced: set[Partition]) -> None:
        lost = [p for p in self.owned(seat) if target.get(p) != seat.id or p in bounced]
        if not lost or seat.id not in self.seats:
            return
        await seat.let_go(lost)
        for partition in lost:
            if self._owner(partition) == seat.id:
                self._ownership.release(self.name, partition)

    async def _hand_out(self, seat: Seat, target: Mapping[Partition, str]) -> None:
        free = [p for p, id_ in target.items() if id_ == seat.id and self._owner(p) is None]
        if free and seat.id in self.seats and seat.topics:
            await seat.take([self._ownership.claim(self.name, partition, seat.id) for partition in free])

    def _conclude(self, seat: Seat) -> None:
        if seat.topics:
            seat.settled()
        elif seat.id in self.seats and not self.owned(seat):  # else it left meanwhile: the next round
            del self.seats[seat.id]
            seat.settled()

    def _owner(self, partition: Partition) -> str | None:
        return self._ownership.owners.get((self.name, partition), NOBODY).member

    def __repr__(self) -> str:
        state = "stable" if self.is_stable else "in a rebalance"
        return f"<Group {self.name}: {', '.join(self.seats) or 'no members'}, {state}>"
