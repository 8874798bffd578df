"""How a client writes: in the order of the calls, step by step, and what its caller learns of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import Append, Partition, Position, Settlement, Ticket
from headrace.triggers.brokers.memory.client import Client
from headrace.triggers.brokers.memory.disk import Progress
from headrace.triggers.brokers.memory.faults import Step


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a write, on its way: `lost` is why the caller will not learn that it was done."""

    delay: float = 0.0
    lost: BrokerUnavailable | None = None

    async def arrive(self, client: Client) -> None:
        """Wait for it. Raises if it is lost, or the client ended."""
        if self.delay > 0:
            await client.watch.pass_time(self.delay)
        await client.turn()
        if self.lost is not None:
            raise self.lost


class Writer:
    """Writes for one client. A call's answer may still be on its way while the next call is written."""

    def __init__(self, client: Client, progress_limit: int | None) -> None:
        self._client = client
        self._disk = client.disk
        self._progress_limit = progress_limit
        self._order = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Writer of {self._client.name}: {'writing' if self._order.locked() else 'quiet'}>"

    async def append(self, appends: Sequence[Append], ticket: Ticket | None = None) -> list[Position]:
        """Write records as one, or on an at-least-once disk as one for each partition they go to."""
        async with self._order:
            await self._client.turn()
            if ticket and (answered := self._disk.answers.get(ticket.producer, {}).get(ticket.number)):
                return answered
            step = Step(self._client.name, "append", records=len(appends))
            positions, answer = await self._append(step, [self._disk.placed(one) for one in appends], ticket)
        await answer.arrive(self._client)
        return positions

    async def settle(self, settlement: Settlement) -> None:
        """Write a settlement as one, or on an at-least-once disk its records and then its progress.

        The fence is checked first, and once more before the progress.
        """
        async with self._order:
            await self._client.turn()
            self._check(settlement)
            again = self._disk.transactional and self._disk.has(settlement)  # its acknowledgement was lost
            placed = [] if again else [self._disk.placed(one) for one in settlement.appends]
            step = Step(self._client.name, "settle", settlement.group, settlement.partition, len(placed))
            if not self._disk.transactional:
                await self._publish(step._replace(action="append"), placed)
                self._check(settlement)
                placed, step = [], step._replace(action="progress", records=0)
            _, answer = self._write(step, placed, settlement)
        await answer.arrive(self._client)

    async def _publish(self, step: Step, placed: Sequence[Append]) -> None:
        if placed:
            _, answer = await self._append(step, placed)
            await answer.arrive(self._client)

    async def _append(
        self, step: Step, placed: Sequence[Append], ticket: Ticket | None = None
    ) -> tuple[list[Position], Answer]:
        if self._disk.transactional:
            return self._write(step, placed, ticket=ticket)
        positions: dict[int, Position] = {}
        answer = Answer()
        for numbers in _by_partition(placed):
            if positions:
                await answer.arrive(self._client)
            written, answer = self._write(step._replace(records=len(numbers)), [placed[n] for n in numbers])
            positions.update(zip(numbers, written, strict=True))
        return [positions[n] for n in range(len(placed))], answer

    def _write(
        self,
        step: Step,
        placed: Sequence[Append],
        settlement: Settlement | None = None,
        ticket: Ticket | None = None,
    ) -> tuple[list[Position], Answer]:
        client, now_ms = self._client, self._client.clock.now_ms()
        client.begin(step)
        if settlement is None:
            positions = self._disk.apply(placed, now_ms, ticket=ticket)
        else:
            settled = (settlement.group, settlement.partition)
            progress = Progress(settlement.watermark, settlement.progress)
            positions = self._disk.apply(placed, now_ms, settled=settled, progress=progress)
        try:
            client.ask(client.faults.after, step)
        except BrokerUnavailable as lost:
            return positions, Answer(client.faults.delay(step), lost)
        return positions, Answer(client.faults.delay(step))

    def _check(self, settlement: Settlement) -> None:
        self._disk.check(settlement, [seat.id for seat in self._client.seats])
        size = len(settlement.progress)
        if self._progress_limit is not None and size > self._progress_limit:
            raise BrokerError(
                f"progress of group {settlement.group!r} has {size} bytes; {self._progress_limit} are the limit here"
            )


def _by_partition(placed: Sequence[Append]) -> list[list[int]]:
    """The numbers of the records that go to each partition, in the order of the partitions' first ones."""
    groups: dict[Partition, list[int]] = {}
    for n, append in enumerate(placed):
        groups.setdefault((append.topic, append.partition), []).append(n)
    return list(groups.values())
