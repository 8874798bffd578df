"""The log as the runtime sees it: `ports.Store` on one SQLite file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self
from weakref import WeakKeyDictionary

from headrace.functions.errors import BrokerError, BrokerUnavailable, Fenced
from headrace.runtime.ports import (
    Append,
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
from headrace.triggers.brokers.refusal import check_spec
from headrace.triggers.brokers.selection import chosen
from headrace.triggers.brokers.sqlite import admin, groups, reader
from headrace.triggers.brokers.sqlite.bells import Ringer, bell_name
from headrace.triggers.brokers.sqlite.delayed import waiting
from headrace.triggers.brokers.sqlite.files import Files
from headrace.triggers.brokers.sqlite.heart import Desk, Times
from headrace.triggers.brokers.sqlite.member import SqliteMember
from headrace.triggers.brokers.sqlite.membership import Membership
from headrace.triggers.brokers.sqlite.promoter import Promoter
from headrace.triggers.brokers.sqlite.readers import readers
from headrace.triggers.brokers.sqlite.topics import alter, create, drop
from headrace.triggers.brokers.sqlite.upkeep import Upkeep
from headrace.triggers.brokers.sqlite.watch import Watch
from headrace.triggers.brokers.sqlite.writer import Writer


class SqliteLog:
    """A log in a file, shared by the processes of one host; implements `ports.Store`. Made by `open`.

    Appends and settlements are durable (`synchronous=FULL`) when their calls return.
    """

    def __init__(self, files: Files, default_partitions: int, times: Times) -> None:
        self.features = Features(
            transactions=True,
            delayed=True,
            progress_limit=None,
            seek_by_time=True,
            rebalance_s=times.rebalance,
            once=True,
        )
        self.path = files.path
        self.cluster = files.cluster
        self._files = files
        self._default_partitions = default_partitions
        name = bell_name()
        self._watch = Watch(files.watch, files.run, name, held=lambda: self._promoter.look())  # noqa: PLW0108  (made below)
        self._writer = Writer(files, self._watch.committed, Ringer(files.run, name))
        self._reader = reader.Reader(files)
        self._upkeep = Upkeep(files.path, files.run)
        self._promoter = Promoter(self._reader, self._writer)
        self._desk = Desk(self._writer, self._reader, self._watch, files.run, times)
        self._memberships: dict[str, Membership] = {}
        self._bells: WeakKeyDictionary[asyncio.Task[object], asyncio.Event] = WeakKeyDictionary()
        self._closed = False

    @classmethod
    async def open(cls, path: Path | str, *, default_partitions: int = 4, times: Times | None = None) -> Self:
        """Open the log at `path`, creating it and its directory if need be. Raises `BrokerError`, with a remedy."""
        # Links resolved, because all who share the file must find the same lock beside it.
        files = await asyncio.to_thread(Files.open, Path(os.path.realpath(path)))
        return cls(files, default_partitions, times or Times())

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"open, serving {', '.join(sorted(self._memberships)) or 'no group'}"
        return f"<SqliteLog {self.path}: {state}>"

    async def append(self, appends: Sequence[Append], *, ticket: Ticket | None = None) -> Sequence[Position]:
        """See `ports.Broker.append`: all or nothing, in one transaction."""
        return await self._writer.do(lambda transaction: transaction.append(appends, ticket))

    async def settle(self, settlement: Settlement) -> None:
        """See `ports.Broker.settle`: appends and progress are one transaction, the fence checked within it."""
        if self._closed:
            raise BrokerUnavailable(f"the log {self.path} is closed: open it again to settle on it")
        membership = self._memberships.get(settlement.group)
        owner = membership.id if membership else None
        try:
            await self._writer.do(lambda transaction: transaction.settle(settlement, owner))
        except Fenced:
            if membership is not None:
                membership.urge()  # it does not know yet
            raise

    async def join(
        self, group: str, topics: Sequence[str], rebalance: Rebalance, *, transactional: bool = False
    ) -> SqliteMember:
        """See `ports.Broker.join`. Every settlement is one transaction. A client has one member of a group at most."""
        _ = transactional  # always
        if self._closed:
            raise BrokerUnavailable(f"the log {self.path} is closed: open it again to join a group")
        if group in self._memberships:
            raise BrokerError(
                f"group {group!r} was already joined through this client of {self.path}: leave it first, or open the "
                "log once more for a second member"
            )
        names = list(dict.fromkeys(topics))
        membership = Membership(self._desk, group, names, rebalance, lambda: self._forget(group))
        self._memberships[group] = membership
        await membership.enter()
        self._upkeep.start()
        return membership.member

    async def ensure(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """See `ports.Admin.ensure`. Where all are there nobody has to wait for a turn to write."""
        if {topic.name for topic in topics} <= (await self.topics()).keys():
            for topic in topics:
                check_spec(topic)
            return []
        return await self._writer.do(partial(create, specs=topics, default_partitions=self._default_partitions))

    async def alter(self, topic: TopicSpec) -> None:
        """See `ports.Admin.alter`. What it makes superfluous goes with the next upkeep."""
        await self._writer.do(partial(alter, spec=topic))

    async def delete(self, name: str) -> None:
        """See `ports.Admin.delete`. The next upkeep gives its space back: a runtime's, or `headrace log compact`."""
        await self._writer.do(partial(drop, name=name, run=self._files.run))

    async def topics(self, names: Collection[str] | None = None) -> dict[str, TopicInfo]:
        """See `ports.Admin.topics`."""
        return chosen(await self._reader.do(admin.topics), names)

    async def lag(self, prefix: str) -> Sequence[Lag]:
        """See `ports.Admin.lag`."""
        return await self._reader.do(partial(admin.lag, prefix=prefix))

    async def served(self, groups: Collection[str]) -> dict[str, list[str]]:
        """See `ports.Groups.served`: the processes of its members."""
        found: dict[str, list[str]] = {}
        for one in await self._reader.do(lambda connection: readers(connection.execute, self._files.run)):
            if one.group in groups:
                found.setdefault(one.group, []).append(one.process)
        return found

    async def move(self, group: str, marks: Mapping[Partition, int]) -> None:
        """See `ports.Groups.move`: whether somebody serves it is looked at in the same transaction."""
        await self._writer.do(partial(groups.move, group=group, marks=marks, run=self._files.run))

    async def read(self, partition: Partition, offset: int, limit: int) -> Fetched:
        """See `ports.Reader.read`."""
        self._bell().clear()
        numbers = self._reader.numbers
        read = partial(reader.read, partition=partition, offset=max(0, offset), limit=limit, numbers=numbers)
        few = self._reader.glance(read) if limit <= reader.A_FEW else None
        return await self._reader.do(read) if few is None else few

    async def changed(self, timeout: float) -> None:
        """See `ports.Reader.changed`: also returns at once if it was after the last `read` of the calling task."""
        bell = self._bell()
        await self._watch.wait(bell, timeout)
        bell.clear()

    async def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """See `ports.Reader.offset_at`."""
        return await self._reader.do(partial(reader.offset_at, partition=partition, timestamp_ms=timestamp_ms))

    async def delayed(self, topics: Collection[str]) -> Delayed:
        """See `ports.Reader.delayed`."""
        return await self._reader.do(partial(waiting, topics=topics))

    async def close(self) -> None:
        """See `ports.Broker.close`. What was appended or settled before it is still written."""
        if self._closed:
            return
        self._closed = True
        await self._upkeep.close()
        await self._promoter.close()
        self._watch.close()
        await asyncio.gather(*(membership.close() for membership in list(self._memberships.values())))
        ended = await self._writer.close()
        await self._reader.close()
        # If the turn to close never comes, the kernel closes for us at the end of the process, and nothing is lost.
        if ended:
            with suppress(BrokerError):
                await asyncio.to_thread(self._files.close)

    def _forget(self, group: str) -> None:
        self._memberships.pop(group, None)

    def _bell(self) -> asyncio.Event:
        task = asyncio.current_task()
        assert task is not None
        if (bell := self._bells.get(task)) is None:
            bell = self._bells[task] = self._watch.bell()
        return bell
