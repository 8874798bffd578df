"""The log as the runtime sees it: `ports.Store` in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from weakref import WeakKeyDictionary

from headrace.runtime.ports import (
    Append,
    Clock,
    Delayed,
    Features,
    Fetched,
    Lag,
    Partition,
    Position,
    Rebalance,
    Settlement,
    Ticket,
    TopicInfo,
    TopicSpec,
)
from headrace.triggers.brokers.memory.client import Client, Times
from headrace.triggers.brokers.memory.disk import Disk
from headrace.triggers.brokers.memory.faults import Faults, Step
from headrace.triggers.brokers.memory.member import MemoryMember
from headrace.triggers.brokers.memory.writer import Writer
from headrace.triggers.brokers.refusal import refuse_delayed, refuse_transactions, still_read, still_served
from headrace.triggers.brokers.selection import chosen


class MemoryLog:
    """One client of a log in memory; implements `ports.Store`. Several on one disk are processes that share a log.

    All waiting is on `clock`, and nothing depends on the machine's time, on threads or on chance: equal calls in an
    equal order have equal results. `name` tells clients apart, in member ids and to their faults; `session_s`,
    `rebalance_s` and `idle_s` are `Times`. `on_kill` is called when the client is killed, by `kill` or by its faults.
    """

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        faults: Faults | None = None,
        *,
        name: str | None = None,
        session_s: float = 45.0,
        rebalance_s: float = 60.0,
        idle_s: float = 1.0,
        progress_limit: int | None = None,
        on_kill: Callable[[], None] = lambda: None,
    ) -> None:
        self.features = Features(
            transactions=disk.transactional,
            delayed=disk.transactional,
            progress_limit=progress_limit,
            seek_by_time=True,
            rebalance_s=rebalance_s,
            once=disk.transactional,
        )
        self.cluster = disk.cluster
        self.disk = disk
        times = Times(session_s, rebalance_s, idle_s)
        self._client = Client(disk, clock, faults or Faults(), times, name=name, on_kill=on_kill)
        self._writer = Writer(self._client, progress_limit)
        self._seen: WeakKeyDictionary[asyncio.Task[object], int] = WeakKeyDictionary()

    def __repr__(self) -> str:
        groups = ", ".join(sorted({group.name for group in self._client.seats.values()})) or "no group"
        return f"<MemoryLog {self.name} of {self.cluster!r}: {self._client.state}, serving {groups}>"

    @property
    def name(self) -> str:
        """What tells this client from others."""
        return self._client.name

    @property
    def state(self) -> str:
        """Whether it is `open`, `frozen`, `closed` or `killed`."""
        return self._client.state

    async def append(self, appends: Sequence[Append], *, ticket: Ticket | None = None) -> Sequence[Position]:
        """See `ports.Broker.append`: all or nothing, but on an at-least-once disk for each partition by itself."""
        refuse_delayed(appends, self.features)
        return await self._writer.append(appends, ticket)

    async def settle(self, settlement: Settlement) -> None:
        """See `ports.Broker.settle`, and `Disk.transactional` for what is written together."""
        refuse_delayed(settlement.appends, self.features)
        await self._writer.settle(settlement)

    async def join(
        self, group: str, topics: Sequence[str], rebalance: Rebalance, *, transactional: bool = False
    ) -> MemoryMember:
        """See `ports.Broker.join`. Returns once a rebalance has given the member its share, which may be nothing."""
        refuse_transactions(group, wanted=transactional, features=self.features)
        await self._client.turn()
        names = list(dict.fromkeys(topics))
        self.disk.partitions(names)
        its = self.disk.group(group)
        member = MemoryMember(self._client, its, names, rebalance)
        its.enter(member)
        self._client.seats[member] = its
        try:
            await member.joined
            await self._client.turn()
        except BaseException:
            if not self._client.is_killed:  # else its group does not know yet
                self._client.seats.pop(member, None)
                its.evict(member)
            raise
        return member

    async def ensure(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """See `ports.Admin.ensure`."""
        await self._client.turn(Step(self.name, "ensure"))
        return self.disk.ensure(topics)

    async def alter(self, topic: TopicSpec) -> None:
        """See `ports.Admin.alter`. A log in memory keeps its records for as long as it lives, whatever is set."""
        await self._client.turn(Step(self.name, "alter"))
        self.disk.alter(topic)

    async def delete(self, name: str) -> None:
        """See `ports.Admin.delete`."""
        await self._client.turn(Step(self.name, "delete"))
        for group in self.disk.groups.values():
            if readers := [seat.id for seat in group.seats.values() if name in seat.topics]:
                raise still_read(name, group.name, readers[0])
        self.disk.delete(name)

    async def topics(self, names: Collection[str] | None = None) -> dict[str, TopicInfo]:
        """See `ports.Admin.topics`."""
        await self._client.turn(Step(self.name, "read"))
        return chosen(self.disk.infos(), names)

    async def lag(self, prefix: str) -> Sequence[Lag]:
        """See `ports.Admin.lag`."""
        await self._client.turn(Step(self.name, "read"))
        return self.disk.lag(prefix)

    async def served(self, groups: Collection[str]) -> dict[str, list[str]]:
        """See `ports.Groups.served`."""
        await self._client.turn(Step(self.name, "read"))
        return {group: seats for group in groups if (seats := self.members(group))}

    async def move(self, group: str, marks: Mapping[Partition, int]) -> None:
        """See `ports.Groups.move`."""
        await self._client.turn(Step(self.name, "ensure"))
        if members := self.members(group):
            raise still_served(group, members)
        self.disk.move(group, marks)

    async def read(self, partition: Partition, offset: int, limit: int) -> Fetched:
        """See `ports.Reader.read`."""
        await self._client.turn(Step(self.name, "read", partition=partition))
        self._see()
        records, after = self.disk.journal(partition).take(max(0, offset), limit)
        return Fetched(partition, records, after)

    async def changed(self, timeout: float) -> None:
        """See `ports.Reader.changed`: also returns at once if it was after the last `read` of the calling task."""
        seen = self._seen.get(_this_task(), self.disk.version)
        await self._client.turn()
        await self._client.watch.change(seen, timeout)
        await self._client.turn()
        self._see()

    async def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """See `ports.Reader.offset_at`."""
        await self._client.turn(Step(self.name, "read", partition=partition))
        return self.disk.journal(partition).offset_at(timestamp_ms)

    async def delayed(self, topics: Collection[str]) -> Delayed:
        """See `ports.Reader.delayed`."""
        await self._client.turn(Step(self.name, "read"))
        dues = [due for due, _, append in self.disk.delayed if append.topic in topics]
        return Delayed(len(dues), min(dues, default=None))

    async def close(self) -> None:
        """See `ports.Broker.close`. Members that did not leave are out at once, without being told."""
        await self._client.close()

    # -- what a test does to a client -----------------------------------------------------------------------------

    def kill(self, *, at_once: bool = False) -> None:
        """The client's process dies: nothing more of it is written, and its calls, also those under way, raise `Crash`.

        Its groups notice when its session is over, or `at_once`.
        """
        self._client.kill(at_once=at_once)

    def expire(self) -> None:
        """The client's session is over now: its groups put its members out, whether it is dead, frozen or well."""
        self._client.expire()

    def freeze(self) -> None:
        """The client's process stops: no call goes on, no heartbeat is sent, its session runs out."""
        self._client.freeze()

    def thaw(self) -> None:
        """The client's process goes on where it stopped, and knows nothing of what happened meanwhile."""
        self._client.thaw()

    def rebalance(
        self, group: str, wanted: Mapping[Partition, str] | None = None, bounced: Sequence[Partition] = ()
    ) -> None:
        """Rebalance a group in the background, see `Group.rebalance`; the ids of its members are `members(group)`."""
        self.disk.group(group).rebalance(wanted, bounced)

    def members(self, group: str) -> list[str]:
        """The ids of a group's members, of all clients, in the order they joined."""
        return list(self.disk.group(group).seats)

    def _see(self) -> None:
        self._seen[_this_task()] = self.disk.version


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
