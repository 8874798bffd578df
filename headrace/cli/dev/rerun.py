"""Rerun: the event that failed last, once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.cli.dev.layout import short_id
from headrace.cli.logs import event_id
from headrace.cli.operator import said_now
from headrace.runtime.clock import SystemClock
from headrace.runtime.control import control_of
from headrace.runtime.engine import Engine
from headrace.runtime.hooks import hookimpl
from headrace.runtime.letters import DeadLetter, dead_letters
from headrace.runtime.plan import dead_letter_topic
from headrace.runtime.ports import Partition, Store
from headrace.runtime.redrive import Redriving, original_of
from headrace.runtime.result import Result
from headrace.runtime.subscription import Subscription
from headrace.runtime.verdict import Again, Finish, SetAside
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Origin

_MOST = 1000
_SETTLED_S = 20.0

_Key = tuple[str, Partition, int]


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that failed, by where it lay first. `aside`: it was dead-lettered or discarded."""

    function: str
    partition: Partition
    offset: int
    id: str
    aside: bool

    def __str__(self) -> str:
        (topic, number), offset = self.partition, self.offset
        return f"{self.function} {topic}/{number}@{offset} ({short_id(self.id)})"


class Failures:
    """Remembers which events failed and have not succeeded since; observes an engine."""

    def __init__(self) -> None:
        self._failed: dict[_Key, Failed] = {}

    @property
    def last(self) -> Failed | None:
        """The one that failed last; None if there is none."""
        return next(reversed(self._failed.values()), None)

    @hookimpl
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts ended."""
        for result in results:
            key = (function.name, result.partition, result.record.offset)
            if isinstance(result.verdict, Finish):
                if self._failed:
                    self._failed.pop(key, None)
            elif isinstance(result.verdict, Again | SetAside):
                self._failed.pop(key, None)
                aside = isinstance(result.verdict, SetAside)
                self._failed[key] = Failed(*key, event_id(result), aside)
                if len(self._failed) > _MOST:
                    del self._failed[next(iter(self._failed))]

    def __repr__(self) -> str:
        return f"<Failures: {len(self._failed)}, last {self.last}>"


class Rerun:
    """Has an event that failed handled again, whether it waits for its next attempt or was set aside.

    `atomic`: what is appended together is there together, as on the embedded log.
    """

    def __init__(self, engine: Engine, store: Store, app: str, *, atomic: bool) -> None:
        self._engine = engine
        self._store = store
        self._app = app
        self._redriving = Redriving(store, app, atomic=atomic)
        self._turn = asyncio.Lock()  # a letter is taken once: the next rerun sees it marked

    async def of(self, failed: Failed, tell: Callable[[str], None]) -> None:
        """Do it; tell what is about to be done, or why it cannot be. Raises `BrokerError`."""
        subscription = next((one for one in self._engine.subscriptions if one.spec.name == failed.function), None)
        if subscription is None:
            tell(f"{failed} cannot be rerun: there is no function {failed.function!r} any more")
        elif failed.partition[0] not in subscription.spec.topics:
            tell(f"{failed} cannot be rerun: {failed.function} does not subscribe to {failed.partition[0]!r} any more")
        elif failed.aside:
            async with self._turn:
                await self._redrive(failed, subscription, tell)
        elif subscription.hasten(failed.partition, failed.offset):
            tell(f"rerunning {failed}")
        else:
            tell(f"{failed} is being tried just now, or waits in a retry topic, which keeps its time")

    async def _redrive(self, failed: Failed, subscription: Subscription, tell: Callable[[str], None]) -> None:
        spec = subscription.spec
        if (topic := dead_letter_topic(self._app, spec)) is None:
            tell(f"{failed} cannot be rerun: {spec.name} discards what it cannot handle; emit it again")
        elif (letter := await self._letter_soon(failed, topic, subscription)) is None:
            tell(f"{failed} cannot be rerun: there is no open dead letter of it in {topic!r}")
        elif await original_of(letter, self._store) is None:
            tell(f"{failed} cannot be rerun: its value was too large for a dead letter, and the original is gone")
        else:
            tell(f"rerunning {failed}, from its dead letter")
            said, now_ms = said_now("redriven"), SystemClock().now_ms()
            await self._redriving.send(spec.name, [topic, *spec.topics], [letter], said, now_ms)
            subscription.look_for_retries()

    async def _letter_soon(self, failed: Failed, topic: str, subscription: Subscription) -> DeadLetter | None:
        """The newest dead letter of the event that is open; what was told of just now may not be settled yet."""
        last_s = time.monotonic() + _SETTLED_S
        while True:
            settled = subscription.quiet or time.monotonic() > last_s
            if (letter := await self._letter(failed, topic)) is not None or settled:
                return letter
            await self._store.changed(0.1)

    async def _letter(self, failed: Failed, topic: str) -> DeadLetter | None:
        origin, closed = Origin(*failed.partition, failed.offset), (await control_of(self._store, self._app)).letters
        found = None
        async for one in dead_letters(self._store, topic):
            if one.function == failed.function and one.origin == origin and one.letter not in closed:
                found = one
        return found

    def __repr__(self) -> str:
        return f"<Rerun of {self._app}>"
