"""The engine: all functions of a target, from start to the last settlement."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from headrace.functions.errors import BrokerUnavailable, HeadraceError
from headrace.runtime.beginnings import Beginnings
from headrace.runtime.demands import check_demands
from headrace.runtime.ground import Ground
from headrace.runtime.hooks import Hooks
from headrace.runtime.obedience import Obedience
from headrace.runtime.plan import Plan
from headrace.runtime.ports import Clock, Delayed, Store, TopicInfo
from headrace.runtime.reload import Changes, Reloaded
from headrace.runtime.state import State
from headrace.runtime.subscription import Subscription
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.process import WorkerSpec

_PAUSE_S = 0.5

T = TypeVar("T")

log = structlog.get_logger("headrace")


class Engine:
    """Serves all functions of a plan on one broker."""

    def __init__(self, plan: Plan, store: Store, clock: Clock, hooks: Hooks, dice: random.Random | None = None) -> None:
        self._plan = plan
        self._dice = dice or random.Random()  # noqa: S311  (jitter, not secrets)
        self._store = store
        self._clock = clock
        self._hooks = hooks
        self.subscriptions: list[Subscription] = []
        self._obedience: Obedience | None = None
        self.delayed = Delayed()

    async def open(self) -> None:
        """See that all topics are there, then begin with every function.

        Raises `DeclarationError` for an option that the broker cannot honour, before anything was touched, and
        `SettingsError` for a function of which it is not clear where it starts.
        """
        self._check(self._plan)
        ground = await Ground.lay(self._plan, self._store)
        await self._check_beginnings(ground.topics)
        for spec in self._plan.functions:
            self.subscriptions.append(self._subscription(self._plan, ground, spec))
        if self._plan.obedient:
            self._obedience = Obedience(self._store, self._plan.app, self.subscriptions)
            await self._obedience.open()
        # All of them come to an end before a refusal is passed on: closing must not meet one that is half open.
        opened = await asyncio.gather(*(one.open() for one in self.subscriptions), return_exceptions=True)
        for refusal in opened:
            if isinstance(refusal, BaseException):
                raise refusal

    async def reload(self, plan: Plan, drain_s: float) -> Reloaded:
        """Serve another plan of the same app from now on, without losing anything (see `reload`).

        What runs of a function that is given up or subscribed anew has `drain_s` seconds to end. A function that is
        new starts at the end of its topics, unless it says where or was here before. Raises what `open` raises for a
        plan that cannot be served, and whatever the broker cannot do; then nothing has changed. Neither this nor
        `close` is to be called before it has returned or was cancelled.
        """
        assert plan.worker is not None
        self._check(plan)
        ground = await Ground.lay(plan, self._store)
        changes = Changes.between([one.spec for one in self.subscriptions], plan.functions)
        workers = {spec.name: plan.worker(spec, ground.outlets_of(spec)) for spec in plan.functions}
        failed = await self._renew(changes.renewed, ground, workers)
        self._plan = plan
        failed |= await _to_its_end(self._exchange(changes, plan, ground, drain_s))
        return Reloaded(
            [spec.name for spec in changes.added],
            changes.removed,
            [spec.name for spec in changes.resubscribed],
            [spec.name for spec in changes.renewed if spec.name not in failed],
            failed,
        )

    async def _renew(
        self, specs: Sequence[FunctionSpec], ground: Ground, workers: Mapping[str, WorkerSpec]
    ) -> dict[str, str]:
        """Have functions go on under new code; why some could not."""
        serving = {one.spec.name: one for one in self.subscriptions}
        ends = await asyncio.gather(
            *(serving[spec.name].renew(spec, ground.terms_of(spec), workers[spec.name]) for spec in specs),
            return_exceptions=True,
        )
        return _refusals([spec.name for spec in specs], ends)

    async def _exchange(self, changes: Changes, plan: Plan, ground: Ground, drain_s: float) -> dict[str, str]:
        """Give up what is to go and subscribe to what is to come; why some could not."""
        await self._end([*changes.removed, *(spec.name for spec in changes.resubscribed)], drain_s)
        begun = [*changes.resubscribed, *map(_from_the_end, changes.added)]
        return await self._begin([self._subscription(plan, ground, spec) for spec in begun])

    async def _end(self, names: Collection[str], drain_s: float) -> None:
        ending = [one for one in self.subscriptions if one.spec.name in names]
        await asyncio.gather(*(one.drain(drain_s) for one in ending))
        await asyncio.gather(*(one.close(max(2.0, drain_s)) for one in ending))
        self.subscriptions[:] = [one for one in self.subscriptions if one not in ending]

    async def _begin(self, subscriptions: Sequence[Subscription]) -> dict[str, str]:
        self.subscriptions += subscriptions
        if self._obedience is not None:
            for one in subscriptions:
                one.before_assigned = self._obedience.look
        ends = await asyncio.gather(*(one.open() for one in subscriptions), return_exceptions=True)
        failed = _refusals([one.spec.name for one in subscriptions], ends)
        await self._end(failed.keys(), 0.0)
        return failed

    async def until_idle(self) -> None:
        """Wait until every event there is has ended and is settled, or a function cannot go on.

        One that waits for its time is not there yet: `delayed` says of those in the functions' topics.
        """
        while True:
            try:
                if self._is_paused or (self._is_quiet and await self._has_caught_up()):
                    return
                await self._store.changed(0.05)
            except BrokerUnavailable:  # subscriptions say so, and go on by themselves
                await asyncio.sleep(_PAUSE_S)

    async def close(self, drain_s: float) -> None:
        """Drain within `drain_s` seconds, then end everything; what did not end goes back uncharged."""
        if self._obedience is not None:
            await self._obedience.close()
        await asyncio.gather(*(subscription.drain(drain_s) for subscription in self.subscriptions))
        await asyncio.gather(*(subscription.close(max(2.0, drain_s)) for subscription in self.subscriptions))

    @property
    def blocked(self) -> list[str]:
        """What cannot go on by itself, each with its reason: functions, and single partitions."""
        found = [(one, one.status.reason) for one in self.subscriptions if one.status.state is State.PAUSED]
        found += [(one, reason) for one in self.subscriptions for reason in one.stopped.values()]
        return list(dict.fromkeys(f"{one.spec.name}: {reason}" for one, reason in found))

    @property
    def _is_paused(self) -> bool:
        return any(subscription.status.state is State.PAUSED for subscription in self.subscriptions)

    def _activity(self) -> int:
        return sum(subscription.activity for subscription in self.subscriptions)

    @property
    def _is_quiet(self) -> bool:
        return all(subscription.quiet for subscription in self.subscriptions)

    async def _has_caught_up(self) -> bool:
        """Whether all there is has ended, and nothing happened while we looked."""
        before = self._activity()
        topics = await self._store.topics(self._plan.names)
        marks = [mark for subscription in self.subscriptions for mark in subscription.watermarks.items()]
        caught_up = all(mark >= topics[topic].bounds[partition].end for (topic, partition), mark in marks)
        if caught_up:
            self.delayed = await self._store.delayed({topic for one in self.subscriptions for topic in one.spec.topics})
            caught_up = self.delayed.due_ms is None or self.delayed.due_ms > self._clock.now_ms()
        return caught_up and self._is_quiet and self._activity() == before

    def _check(self, plan: Plan) -> None:
        for spec in plan.functions:
            check_demands(spec, self._store.features)

    def _subscription(self, plan: Plan, ground: Ground, spec: FunctionSpec) -> Subscription:
        terms = ground.terms_of(spec)
        subscription = Subscription(spec, terms, self._store, self._clock, self._hooks, dice=self._dice)
        subscription.dispatch.pool = plan.pool(spec, ground.outlets_of(spec), subscription.dispatch)
        return subscription

    async def _check_beginnings(self, topics: Mapping[str, TopicInfo]) -> None:
        """Where a broker is shared, a backlog is nothing to begin with unasked; elsewhere it is worth a line."""
        plan = self._plan
        lags = await self._store.lag(f"{plan.app}.")
        beginnings = Beginnings(plan.app, plan.functions, topics, lags)
        if plan.cautious:
            beginnings.check()
        for one in beginnings.undecided():
            log.info("a new function starts at the beginning", **one._asdict())

    def __repr__(self) -> str:
        states = ", ".join(f"{s.spec.name} {s.status}" for s in self.subscriptions)
        return f"<Engine of {self._plan.app}: {states or 'not started'}>"


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. Being cancelled does not cut it short: a subscription must not be left half way."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _from_the_end(spec: FunctionSpec) -> FunctionSpec:
    """A function that appears: what was there before it is not for it, unless it says so."""
    return spec if spec.start is not None else msgspec.structs.replace(spec, start="latest")


def _refusals(names: Sequence[str], ends: Sequence[BaseException | None]) -> dict[str, str]:
    """Why some could not, by name. What is no answer to a user is raised."""
    for end in ends:
        if end is not None and not isinstance(end, HeadraceError):
            raise end
    return {name: str(end) for name, end in zip(names, ends, strict=True) if end is not None}
