"""The log as the runtime sees it: `ports.Store` on one SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self
from weakref import WeakKeyDictionary

from headrace.functions.errors import BrokerError
from headrace.functions.identity import fresh_id
from headrace.runtime.ports import (
    Append,
    Features,
    Fetched,
    Lag,
    Partition,
    Position,
    Rebalance,
    Settlement,
    TopicInfo,
    TopicSpec,
)
from headrace.triggers.brokers.selection import chosen
from headrace.triggers.brokers.sqlite import admin, groups, reader
from headrace.triggers.brokers.sqlite.files import Files
from headrace.triggers.brokers.sqlite.lease import Lease
from headrace.triggers.brokers.sqlite.member import SqliteMember
from headrace.triggers.brokers.sqlite.topics import create
from headrace.triggers.brokers.sqlite.watch import Watch
from headrace.triggers.brokers.sqlite.writer import Writer


class SqliteLog:
    """A log in a file, shared by the processes of one host; implements `ports.Store`. Made by `open`.

    Appends and settlements are durable (`synchronous=FULL`) when their calls return.
    """

    features = Features(transactions=True, delayed=False, progress_limit=None, seek_by_time=True)

    def __init__(self, files: Files, default_partitions: int) -> None:
        self.path = files.path
        self.cluster = files.cluster
        self._files = files
        self._default_partitions = default_partitions
        self._watch = Watch(files.watch)
        self._writer = Writer(files, self._watch.committed)
        self._reader = reader.Reader(files)
        self._members: dict[str, SqliteMember] = {}
        self._leases: dict[str, Lease] = {}
        self._bells: WeakKeyDictionary[asyncio.Task[object], asyncio.Event] = WeakKeyDictionary()
        self._closed = False

    @classmethod
    async def open(cls, path: Path | str, *, default_partitions: int = 4) -> Self:
        """Open the log at `path`, creating it and its directory if need be. Raises `BrokerError`, with a remedy."""
        # Links resolved, because all who share the file must find the same lock beside it.
        files = await asyncio.to_thread(Files.open, Path(path).resolve())
        return cls(files, default_partitions)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"open, serving {', '.join(sorted(self._members)) or 'no group'}"
        return f"<SqliteLog {self.path}: {state}>"

    async def append(self, appends: Sequence[Append]) -> Sequence[Position]:
        """See `ports.Broker.append`: all or nothing, in one transaction."""
        return await self._writer.do(lambda transaction: transaction.append(appends))

    async def settle(self, settlement: Settlement) -> None:
        """See `ports.Broker.settle`: appends and progress are one transaction, the fence checked within it."""
        member = self._members.get(settlement.group)
        owner = member.id if member else None
        await self._writer.do(lambda transaction: transaction.settle(settlement, owner))

    async def join(
        self, group: str, topics: Sequence[str], rebalance: Rebalance, *, transactional: bool = False
    ) -> SqliteMember:
        """See `ports.Broker.join`. All partitions are assigned before it returns; every settlement is one transaction.

        Raises `BrokerError` naming the process that serves the group already, if one does: in this version one process
        at a time serves a group.
        """
        _ = transactional  # always
        self._leases[group] = Lease.take(self._files.run, group)
        try:
            member = await self._enter(group, list(dict.fromkeys(topics)), rebalance)
        except BaseException:
            self._members.pop(group, None)
            self._leases.pop(group).release()
            raise
        return member

    async def ensure(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """See `ports.Admin.ensure`."""
        return await self._writer.do(partial(create, specs=topics, default_partitions=self._default_partitions))

    async def topics(self, names: Collection[str] | None = None) -> dict[str, TopicInfo]:
        """See `ports.Admin.topics`."""
        return chosen(await self._reader.do(admin.topics), names)

    async def lag(self, prefix: str) -> Sequence[Lag]:
        """See `ports.Admin.lag`."""
        return await self._reader.do(partial(admin.lag, prefix=prefix))

    async def read(self, partition: Partition, offset: int, limit: int) -> Fetched:
        """See `ports.Reader.read`."""
        self._bell().clear()
        return await self._reader.do(partial(reader.read, partition=partition, offset=max(0, offset), limit=limit))

    async def changed(self, timeout: float) -> None:
        """See `ports.Reader.changed`: also returns at once if it was after the last `read` of the calling task."""
        bell = self._bell()
        await self._watch.wait(bell, timeout)
        bell.clear()

    async def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """See `ports.Reader.offset_at`."""
        return await self._reader.do(partial(reader.offset_at, partition=partition, timestamp_ms=timestamp_ms))

    async def close(self) -> None:
        """See `ports.Broker.close`. What was appended or settled before it is still written."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        ended = await self._writer.close()
        await self._reader.close()
        for lease in self._leases.values():
            lease.release()
        # If the turn to close never comes, the kernel closes for us at the end of the process, and nothing is lost.
        if ended:
            with suppress(BrokerError):
                await asyncio.to_thread(self._files.close)

    async def _enter(self, group: str, topics: Sequence[str], rebalance: Rebalance) -> SqliteMember:
        owner = fresh_id()
        assigned = await self._writer.do(partial(groups.claim, group=group, topics=topics, owner=owner))
        member = self._members[group] = SqliteMember(
            id=owner,
            group=group,
            assigned=assigned,
            reader=self._reader,
            watch=self._watch,
            follow=partial(self._follow, group, rebalance),
            give_up=partial(self._leave, group, owner, rebalance),
        )
        await rebalance.assigned(list(assigned.values()))
        return member

    async def _follow(self, group: str, rebalance: Rebalance, topics: Sequence[str]) -> None:
        member = self._members[group]
        had = member.numbers
        fresh = [topic for topic in topics if topic not in {name for name, _ in had}]
        dropped = [partition for partition in had if partition[0] not in topics]
        gained = await self._writer.do(partial(groups.extend, group=group, topics=fresh, owner=member.id))
        if dropped:
            await rebalance.revoked(dropped)
            member.lose(dropped)
            tps = [had[partition] for partition in dropped]
            await self._writer.do(partial(groups.give_up, group=group, owner=member.id, tps=tps))
        member.gain(gained)
        await rebalance.assigned(list(gained.values()))

    async def _leave(self, group: str, owner: str, rebalance: Rebalance, partitions: Sequence[Partition]) -> None:
        try:
            await rebalance.revoked(partitions)
        finally:
            self._members.pop(group, None)
            # If it cannot be written, the next member's claim takes it over all the same.
            with suppress(BrokerError):
                await self._writer.do(partial(groups.release, group=group, owner=owner))
            self._leases.pop(group).release()

    def _bell(self) -> asyncio.Event:
        task = asyncio.current_task()
        assert task is not None
        if (bell := self._bells.get(task)) is None:
            bell = self._bells[task] = self._watch.bell()
        return bell
