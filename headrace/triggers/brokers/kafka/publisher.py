"""The publisher: gathers the appends of all callers, and writes them in batches, one at a time for each partition.

Several batches of one partition at once would serialise badly in aiokafka, and while one is being written the next one
gathers: that is the batching.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import errors

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.ports import Append, Partition, Position, TopicInfo
from headrace.sandbox.headers import unpack
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.producer import Producer
from headrace.triggers.brokers.refusal import keyless

_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)


class Publisher:
    """Writes records through one producer. `describe` tells of a topic that refused something."""

    def __init__(
        self, producer: Producer, calls: Calls, describe: Callable[[str], Awaitable[TopicInfo | None]]
    ) -> None:
        self._producer = producer
        self._calls = calls
        self._describe = describe
        self._queues: dict[Partition, deque[tuple[Append, _Call, int]]] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        waiting = sum(map(len, self._queues.values()))
        return f"<Publisher: {waiting} records of {len(self._queues)} partitions waiting>"

    async def publish(self, appends: Sequence[Append], places: Sequence[Partition]) -> list[Position]:
        """Write records, each to its place; returns when all are acknowledged.

        Those of a partition are written in the order of the calls. Raises the first failure, once none is under way.
        """
        if not appends:
            return []
        call = _Call(len(appends))
        for index, (append, place) in enumerate(zip(appends, places, strict=True)):
            if (queue := self._queues.get(place)) is None:
                queue = self._queues[place] = deque()
                self._start(place)
            queue.append((append, call, index))
        await call.done
        return call.positions

    async def close(self) -> None:
        """End; what is not written yet fails."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._producer.close()

    def _start(self, place: Partition) -> None:
        pump = asyncio.get_running_loop().create_task(self._pump(place), name=f"publishing to {place[0]}/{place[1]}")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _pump(self, place: Partition) -> None:
        queue = self._queues[place]
        try:
            await asyncio.sleep(0)  # others of this turn join the batch
            while queue:
                await self._write(place, queue)
        except asyncio.CancelledError:
            _fail(queue, BrokerUnavailable(f"the connection to Kafka at {self._calls.where} is closed"))
            raise
        finally:
            del self._queues[place]

    async def _write(self, place: Partition, queue: deque[tuple[Append, _Call, int]]) -> None:
        """Write one batch off the queue; what it is about is told to the callers."""
        parts: list[tuple[Append, _Call, int]] = []
        try:
            async with self._calls.bounded(f"writing to partition {place[1]} of {place[0]!r}"):
                batch = await self._producer.batch()
                _fill(batch, queue, parts)
                if parts:
                    self._tell(place, parts, await self._producer.send(batch, place))
        except BrokerUnavailable as error:
            _fail([*parts, *queue], error)
            queue.clear()
        except BrokerError as error:
            if not parts:  # it did not even come to a batch: none of them can be written
                _fail(queue, error)
                queue.clear()
            await self._refused(place, parts, error)
        except asyncio.CancelledError:
            _fail(parts, BrokerUnavailable(f"the connection to Kafka at {self._calls.where} is closed"))
            raise
        except Exception as error:  # noqa: BLE001  (nobody may be left waiting, whatever it was)
            refusal = BrokerUnavailable(f"writing to partition {place[1]} of {place[0]!r} failed: {error!r}")
            refusal.__cause__ = error
            _fail(parts, refusal)

    async def _refused(self, place: Partition, parts: list[tuple[Append, _Call, int]], error: BrokerError) -> None:
        if not isinstance(error.__cause__, _TOO_LARGE):
            await self._unfit(place, parts, error)
        elif len(parts) == 1:
            _fail(parts, await self._too_large(place, parts[0][0], error))
        else:  # the topic takes less than a batch of ours: half of it, perhaps
            for half in (deque(parts[: len(parts) // 2]), deque(parts[len(parts) // 2 :])):
                while half:
                    await self._write(place, half)

    async def _unfit(self, place: Partition, parts: list[tuple[Append, _Call, int]], error: BrokerError) -> None:
        # Kafka refuses a whole batch for one record that its topic does not take, and aiokafka knows no error for it.
        info = None
        if any(append.key is None for append, _, _ in parts):
            with suppress(BrokerError):
                info = await self._describe(place[0])
        if info is None or "compact" not in info.spec.cleanup:
            return _fail(parts, error)
        for part in [part for part in parts if part[0].key is None]:
            part[1].fail(keyless(place[0]))
        others = deque(part for part in parts if part[0].key is not None)
        while others:
            await self._write(place, others)
        return None

    def _tell(self, place: Partition, parts: Sequence[tuple[Append, _Call, int]], first: int) -> None:
        for n, (_, call, index) in enumerate(parts):
            call.succeed(index, Position(*place, first + n if first >= 0 else -1))

    async def _too_large(self, place: Partition, append: Append, error: BrokerError) -> BrokerError:
        size = len(append.key or b"") + len(append.value or b"") + len(append.headers)
        limit = "less"
        with suppress(BrokerError):
            info = await self._describe(place[0])
            limit = "less" if info is None or info.max_bytes is None else f"{info.max_bytes} bytes"
        refusal = BrokerError(
            f"a record of {size} bytes is too large for topic {place[0]!r}, which takes {limit} (max.message.bytes, "
            "with about 100 bytes of overhead): send less, or raise the topic's limit"
        )
        refusal.__cause__ = error
        return refusal


class _Call:
    """One caller's records: where they went, and what failed first."""

    def __init__(self, count: int) -> None:
        self.positions: list[Any] = [None] * count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count
        self._failure: Exception | None = None

    def succeed(self, index: int, position: Position) -> None:
        self.positions[index] = position
        self._end_one()

    def fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._end_one()

    def _end_one(self) -> None:
        self._left -= 1
        if self._left or self.done.done():  # it may have been cancelled
            return
        if self._failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(self._failure)


def _fill(batch: Any, queue: deque[tuple[Append, _Call, int]], parts: list[tuple[Append, _Call, int]]) -> None:
    """Move from the queue to the batch what fits; what cannot be written at all fails."""
    add = batch.append
    while queue:
        append, call, _ = part = queue[0]
        try:
            headers = unpack(append.headers) if append.headers else []
            if add(timestamp=append.timestamp, key=append.key, value=append.value, headers=headers) is None:
                return  # full
        except (msgspec.DecodeError, TypeError, ValueError, OverflowError) as error:
            refusal = BrokerError(f"a record for topic {append.topic!r} cannot be written: {error}")
            refusal.__cause__ = error
            call.fail(refusal)
        else:
            parts.append(part)
        queue.popleft()


def _fail(parts: Sequence[tuple[Append, _Call, int]], error: Exception) -> None:
    for _, call, _ in parts:
        call.fail(error)
