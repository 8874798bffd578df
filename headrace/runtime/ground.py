"""The ground that a plan stands on: its topics as they are, and what follows from them for each function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import structlog

from headrace.functions.names import group_of
from headrace.runtime.deadletter import Sender
from headrace.runtime.plan import Outlets, Plan, dead_letter_topic
from headrace.runtime.ports import Features, Store, TopicInfo, TopicSpec
from headrace.runtime.retrytopic import RetryTopics
from headrace.runtime.terms import Terms
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Outlet

log = structlog.get_logger("headrace")


class Ground:
    """The topics of one plan. Made by `lay`."""

    def __init__(self, plan: Plan, features: Features, topics: Mapping[str, TopicInfo]) -> None:
        self.topics = topics
        self._plan = plan
        self._features = features

    @classmethod
    async def lay(cls, plan: Plan, store: Store) -> Self:
        """See that all topics of the plan are there. Says where one is not as the settings would have it."""
        specs = [plan.topic(topic) for spec in plan.functions for topic in (*spec.topics, *spec.emits)]
        await store.ensure(specs)
        sources = await store.topics([spec.name for spec in specs])
        letters = [
            plan.topic(topic, partitions=_most_partitions(spec, sources), max_bytes=_most_bytes(spec, sources))
            for spec in plan.functions
            if (topic := dead_letter_topic(plan.app, spec)) is not None
        ]
        await store.ensure(letters)
        topics = await store.topics(plan.names)
        for name, said in plan.topics.items():
            if (info := topics.get(name)) is not None and (found := differences(said, info.spec)):
                log.warning("a topic is not as the settings say", topic=name, differs=", ".join(found))
        return cls(plan, store.features, topics)

    def terms_of(self, spec: FunctionSpec) -> Terms:
        """The terms under which the function is served."""
        app, code, topics = self._plan.app, self._plan.manifest.code, self.topics
        topic = dead_letter_topic(app, spec)
        sender = Sender(spec.name, topic, len(topics[topic].bounds), code, topics[topic].max_bytes) if topic else None
        return Terms.of(
            spec,
            group_of(app, spec.name),
            sender=sender,
            retries=RetryTopics(app, spec.name, _most_partitions(spec, topics), code, _most_bytes(spec, topics)),
            features=self._features,
            watched=self._plan.watched,
            code=code,
        )

    def outlets_of(self, spec: FunctionSpec) -> Outlets:
        """The topics that the function may emit to."""
        return {topic: _outlet(self.topics[topic]) for topic in spec.emits}

    def __repr__(self) -> str:
        return f"<Ground of {self._plan.app}: {len(self.topics)} topics>"


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
