"""The engine: all functions of a target, from start to the last settlement."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from headrace.functions.errors import BrokerUnavailable
from headrace.functions.names import dead_letter_topic_of, group_of
from headrace.runtime.beginnings import Beginnings
from headrace.runtime.deadletter import Sender
from headrace.runtime.demands import check_demands
from headrace.runtime.dispatch import Dispatch
from headrace.runtime.hooks import Hooks
from headrace.runtime.obedience import Obedience
from headrace.runtime.ports import Clock, Store, TopicInfo, TopicSpec
from headrace.runtime.retrytopic import RetryTopics, retry_topics_of
from headrace.runtime.state import State
from headrace.runtime.subscription import Subscription
from headrace.runtime.terms import Terms
from headrace.sandbox.manifest import FunctionSpec, Manifest
from headrace.sandbox.pool import Pool
from headrace.sandbox.wire import Outlet

_PAUSE_S = 0.5

log = structlog.get_logger("headrace")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be served: the app, its functions, and how a pool of workers is made for one of them.
    `watched`: observers are told of every event, not only of those that did not simply succeed. `cautious`: a function
    that has no progress on a topic with a backlog is refused, unless it is told where to start. `obedient`: it follows
    what operators want of its functions (see `control`).

    `topics` says, by name, what those are made with of which a deployment says it; the others get defaults.

    `pool` gets the function, the topics it may emit to, and the dispatch to tell.
    """

    app: str
    manifest: Manifest
    pool: Callable[[FunctionSpec, dict[str, Outlet], Dispatch], Pool]
    watched: bool = False
    cautious: bool = False
    obedient: bool = False
    topics: Mapping[str, TopicSpec] = field(default_factory=dict)

    def topic(self, name: str, *, partitions: int | None = None, max_bytes: int | None = None) -> TopicSpec:
        """What a topic is made with; `partitions` if nothing else is said."""
        said = self.topics.get(name, TopicSpec(name))
        return replace(said, partitions=said.partitions or partitions, max_bytes=max_bytes)


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

    async def open(self) -> None:
        """See that all topics are there, then begin with every function.

        Raises `DeclarationError` for an option that the broker cannot honour, before anything was touched, and
        `SettingsError` for a function of which it is not clear where it starts.
        """
        for spec in self._plan.manifest.functions:
            check_demands(spec, self._store.features)
        await self._create_topics()
        topics = await self._store.topics(self._names)
        self._compare(topics)
        await self._check_beginnings(topics)
        for spec in self._plan.manifest.functions:
            terms = self._terms_of(spec, topics)
            subscription = Subscription(spec, terms, self._store, self._clock, self._hooks, dice=self._dice)
            outlets = {topic: _outlet(topics[topic]) for topic in spec.emits}
            subscription.dispatch.pool = self._plan.pool(spec, outlets, subscription.dispatch)
            self.subscriptions.append(subscription)
        if self._plan.obedient:
            self._obedience = Obedience(self._store, self._plan.app, self.subscriptions)
            await self._obedience.open()
        # All of them come to an end before a refusal is passed on: closing must not meet one that is half open.
        opened = await asyncio.gather(*(one.open() for one in self.subscriptions), return_exceptions=True)
        for refusal in opened:
            if isinstance(refusal, BaseException):
                raise refusal

    async def until_idle(self) -> None:
        """Wait until every event there is has ended and is settled, or a function cannot go on."""
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
        topics = await self._store.topics(self._names)
        marks = [mark for subscription in self.subscriptions for mark in subscription.watermarks.items()]
        caught_up = all(mark >= topics[topic].bounds[partition].end for (topic, partition), mark in marks)
        return caught_up and self._is_quiet and self._activity() == before

    def _terms_of(self, spec: FunctionSpec, topics: Mapping[str, TopicInfo]) -> Terms:
        app, code = self._plan.app, self._plan.manifest.code
        topic = dead_letter_topic(app, spec)
        return Terms.of(
            spec,
            group_of(app, spec.name),
            sender=Sender(spec.name, topic, len(topics[topic].bounds), code, topics[topic].max_bytes)
            if topic
            else None,
            retries=RetryTopics(app, spec.name, _most_partitions(spec, topics), code, _most_bytes(spec, topics)),
            features=self._store.features,
            watched=self._plan.watched,
        )

    @property
    def _names(self) -> set[str]:
        """The topics that matter here."""
        names: set[str] = set()
        for spec in self._plan.manifest.functions:
            letters = dead_letter_topic(self._plan.app, spec)
            retries = retry_topics_of(self._plan.app, spec.name)
            names.update(spec.topics, spec.emits, retries, [letters] if letters else [])
        return names

    async def _create_topics(self) -> None:
        plan = self._plan
        specs = [plan.topic(topic) for spec in plan.manifest.functions for topic in (*spec.topics, *spec.emits)]
        await self._store.ensure(specs)
        topics = await self._store.topics([spec.name for spec in specs])
        letters = [
            plan.topic(topic, partitions=_most_partitions(spec, topics), max_bytes=_most_bytes(spec, topics))
            for spec in plan.manifest.functions
            if (topic := dead_letter_topic(plan.app, spec)) is not None
        ]
        await self._store.ensure(letters)

    def _compare(self, topics: Mapping[str, TopicInfo]) -> None:
        """Say where a topic that is there is not as the settings would have it made."""
        for name, said in self._plan.topics.items():
            if (info := topics.get(name)) is not None and (found := differences(said, info.spec)):
                log.warning("a topic is not as the settings say", topic=name, differs=", ".join(found))

    async def _check_beginnings(self, topics: Mapping[str, TopicInfo]) -> None:
        """Where a broker is shared, a backlog is nothing to begin with unasked; elsewhere it is worth a line."""
        plan = self._plan
        lags = await self._store.lag(f"{plan.app}.")
        beginnings = Beginnings(plan.app, plan.manifest.functions, topics, lags)
        if plan.cautious:
            beginnings.check()
        for one in beginnings.undecided():
            log.info("a new function starts at the beginning", **one._asdict())

    def __repr__(self) -> str:
        states = ", ".join(f"{s.spec.name} {s.status}" for s in self.subscriptions)
        return f"<Engine of {self._plan.app}: {states or 'not started'}>"


def differences(said: TopicSpec, found: TopicSpec) -> list[str]:
    """In what a topic is not as it was said to be, each as `setting: 3, not 6`."""
    names = ["retention_ms", "retention_bytes", "cleanup", *(["partitions"] if said.partitions else [])]
    pairs = [(name, getattr(said, name), getattr(found, name)) for name in names]
    return [f"{name}: {is_}, not {wanted}" for name, wanted, is_ in pairs if is_ != wanted]


def _outlet(topic: TopicInfo) -> Outlet:
    return Outlet(len(topic.bounds), topic.max_bytes, keyed="compact" in topic.spec.cleanup)


def _most_partitions(spec: FunctionSpec, topics: Mapping[str, TopicInfo]) -> int:
    """As many partitions as the largest of the topics it subscribes to."""
    return max(len(topics[source].bounds) for source in spec.topics)


def _most_bytes(spec: FunctionSpec, topics: Mapping[str, TopicInfo]) -> int | None:
    """As much for a record as the most generous of the topics it subscribes to; None if one has no limit."""
    limits = [topics[source].max_bytes for source in spec.topics]
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def dead_letter_topic(app: str, spec: FunctionSpec) -> str | None:
    """Where a function's dead letters go; None if it discards them."""
    return None if spec.discard is not None else spec.dead_letter or dead_letter_topic_of(app, spec.name)
