"""The committer of one member: one OffsetCommit under way at a time, for all partitions with something to commit.

What comes meanwhile gathers for the next one, the newest of each partition; each caller waits for the commit that
covers its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import errors

from headrace.functions.errors import BrokerError
from headrace.runtime.ports import Partition
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.failure import translated
from headrace.triggers.brokers.kafka.mark import Mark

_PAUSE_S = 0.05

Outcome = Mapping[Partition, Any]
Send = Callable[[tuple[int, str], Mapping[Partition, Mark]], Awaitable[Outcome]]


class NotOwner(Exception):
    """The group says that this member does not own the partition any more."""


@dataclass(slots=True)
class _Pending:
    membership: tuple[int, str]
    mark: Mark
    waiting: list[asyncio.Future[None]] = field(default_factory=list)


class Committer:
    """Commits through `send`, which gets the membership to commit as, and says what became of each partition."""

    def __init__(self, group: str, calls: Calls, send: Send) -> None:
        self._group = group
        self._calls = calls
        self._send = send
        self._pending: dict[Partition, _Pending] = {}
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Committer of {self._group}: {len(self._pending)} partitions waiting>"

    async def commit(self, membership: tuple[int, str], partition: Partition, mark: Mark) -> None:
        """Commit a mark; returns once it, or a later one of the same partition, is committed.

        Raises `NotOwner`, or a `BrokerError`.
        """
        pending = self._pending.setdefault(partition, _Pending(membership, mark))
        pending.membership, pending.mark = membership, mark
        done = asyncio.get_running_loop().create_future()
        pending.waiting.append(done)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"commits of {self._group}")
        await done

    async def close(self) -> None:
        """Wait for what is under way; the calls it goes through end when they are closed."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # others of this turn join
            while self._pending:
                taken, self._pending = self._pending, {}
                for membership in {one.membership for one in taken.values()}:  # one, but for a moment after a rebalance
                    part = {partition: one for partition, one in taken.items() if one.membership == membership}
                    await self._write(membership, part)
        finally:
            self._task = None

    async def _write(self, membership: tuple[int, str], taken: dict[Partition, _Pending]) -> None:
        left = dict(taken)
        doing = f"committing offsets of group {self._group!r}"
        try:
            async with self._calls.bounded(doing):
                while left:
                    await self._try(membership, left, doing)
                    if left:
                        await asyncio.sleep(_PAUSE_S)
        except Exception as error:  # noqa: BLE001  (it is told to who waits)
            for one in left.values():
                _tell(one, translated(error, doing, self._calls.where))

    async def _try(self, membership: tuple[int, str], left: dict[Partition, _Pending], doing: str) -> None:
        try:
            outcome = await self._send(membership, {partition: one.mark for partition, one in left.items()})
        except errors.KafkaError as error:
            if not error.retriable:
                raise
            return
        for partition, refused in outcome.items():
            if refused is None:
                _tell(left.pop(partition), None)
            elif isinstance(refused, _NOT_OURS):
                _tell(left.pop(partition), NotOwner())
            elif not isinstance(refused, _LATER):
                _tell(left.pop(partition), translated(refused, f"{doing} on {partition}", self._calls.where))


_NOT_OURS = (errors.IllegalGenerationError, errors.UnknownMemberIdError)
_LATER = (
    errors.GroupLoadInProgressError,
    errors.GroupCoordinatorNotAvailableError,
    errors.NotCoordinatorForGroupError,
    errors.RequestTimedOutError,
    errors.RebalanceInProgressError,
)


def _tell(pending: _Pending, error: NotOwner | BrokerError | None) -> None:
    for done in pending.waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
