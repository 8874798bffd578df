"""The calls of a store: each bounded in time, its failure translated, and ended when the store closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import errors

from headrace.functions.errors import BrokerUnavailable
from headrace.triggers.brokers.kafka.failure import translated


class Calls:
    """What all calls of a store go through. `where` is the cluster's address, for messages."""

    def __init__(self, where: str, timeout_s: float) -> None:
        self.where = where
        self.timeout_s = timeout_s
        self.is_closed = False
        self._under_way: set[asyncio.Timeout] = set()

    def __repr__(self) -> str:
        return f"<Calls to {self.where}: {'closed' if self.is_closed else f'{len(self._under_way)} under way'}>"

    def check(self) -> None:
        """Raise `BrokerUnavailable` if the store is closed."""
        if self.is_closed:
            raise BrokerUnavailable(f"the connection to Kafka at {self.where} is closed: open it again to use it")

    @asynccontextmanager
    async def bounded(self, doing: str, timeout_s: float | None = None) -> AsyncIterator[None]:
        """What is awaited within ends in time, by itself or with an error of the one tree.

        `BrokerUnavailable` when the time is over (default: `timeout_s` of the store) or the store is closed.
        """
        self.check()
        scope = asyncio.timeout(self.timeout_s if timeout_s is None else timeout_s)
        try:
            async with scope:
                self._under_way.add(scope)
                try:
                    yield
                finally:
                    self._under_way.discard(scope)
        except (errors.KafkaError, errors.ConsumerStoppedError, TimeoutError, OSError) as error:
            self.check()
            raise translated(error, doing, self.where) from error

    def close(self) -> None:
        """End all that is under way."""
        self.is_closed = True
        now = asyncio.get_running_loop().time()
        for scope in self._under_way:
            scope.reschedule(now)
