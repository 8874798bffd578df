"""The plan: what a cluster must have and allow for the functions of a target. Made without asking any cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from headrace.functions.names import control_topic_of, group_of, retry_topic_of
from headrace.runtime.control import control_spec
from headrace.runtime.plan import dead_letter_topic
from headrace.runtime.ports import TopicSpec
from headrace.runtime.redrive import redrive_topic_of
from headrace.runtime.retrytopic import retry_topics_of
from headrace.sandbox.manifest import FunctionSpec
from headrace.triggers.brokers.kafka.topics import configs_of

Kind = Literal["input", "output", "dead-letter", "retry", "control"]
Made = Literal["at start", "at the first retry", "at the first redrive"]
Resource = Literal["topic", "group", "transactional_id"]
Pattern = Literal["literal", "prefixed"]


@dataclass(frozen=True, slots=True)
class PlannedTopic:
    """A topic, what it is for, and what it is like if headrace makes it.

    `like` are the topics of which it gets the largest number of partitions and the largest `max.message.bytes`; none:
    the broker's default. `partitions` is their number where settings say it. `replication` None is the broker's
    default, too. `made` is when headrace makes it, if it is missing.
    """

    name: str
    kinds: tuple[Kind, ...]
    functions: tuple[str, ...]
    like: tuple[str, ...]
    partitions: int | None
    replication: int | None
    configs: dict[str, str]
    made: Made


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One access rule, to allow an operation from any host. `only_to_make`: not needed if the topics are there."""

    resource: Resource
    name: str
    pattern: Pattern
    operation: str
    only_to_make: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a target needs. `groups` and `transactional_ids` are by function; an id is a prefix of the real ones."""

    app: str
    principal: str
    topics: tuple[PlannedTopic, ...]
    groups: dict[str, str]
    transactional_ids: dict[str, str]
    acls: tuple[Acl, ...]


def plan_of(
    app: str,
    functions: Iterable[FunctionSpec],
    *,
    replication: int | None,
    user: str | None,
    said: Mapping[str, TopicSpec] | None = None,
) -> Plan:
    """The plan for these functions; `user` is who runs them, if that is known, `said` what settings say of topics."""
    specs = list(functions)
    ids = {spec.name: f"{group_of(app, spec.name)}/" for spec in specs if spec.guarantee == "effectively-once"}
    return Plan(
        app=app,
        principal=f"User:{user or '<user>'}",
        topics=tuple(_merged(topic for spec in specs for topic in _topics(app, spec, replication, said or {}))),
        groups={spec.name: group_of(app, spec.name) for spec in specs},
        transactional_ids=ids,
        acls=tuple(sorted({acl for spec in specs for acl in _acls(app, spec)})),
    )


def _topics(
    app: str, spec: FunctionSpec, replication: int | None, said: Mapping[str, TopicSpec]
) -> Iterator[PlannedTopic]:
    def topic(name: str, kind: Kind, like: Iterable[str] = ()) -> PlannedTopic:
        made: Made = "at start" if kind != "retry" else "at the first retry"
        if name == redrive_topic_of(app, spec.name):
            made = "at the first redrive"
        made_with = said.get(name, TopicSpec(name))
        alike = () if made_with.partitions else tuple(like)
        configs = dict(configs_of(made_with))
        return PlannedTopic(name, (kind,), (spec.name,), alike, made_with.partitions, replication, configs, made)

    for name in spec.topics:
        yield topic(name, "input")
    for name in spec.emits:
        yield topic(name, "output")
    if (letters := dead_letter_topic(app, spec)) is not None:
        yield topic(letters, "dead-letter", spec.topics)
    for name in _retry_topics(app, spec):
        yield topic(name, "retry", spec.topics)
    control = control_spec(app)
    yield PlannedTopic(
        control.name,
        ("control",),
        (spec.name,),
        (),
        control.partitions,
        replication,
        dict(configs_of(control)),
        "at start",
    )


def _retry_topics(app: str, spec: FunctionSpec) -> list[str]:
    """With an order, events wait for their retry in place; only what is redriven goes another way."""
    if spec.order == "none":
        return list(retry_topics_of(app, spec.name))
    return [] if dead_letter_topic(app, spec) is None else [redrive_topic_of(app, spec.name)]


def _merged(topics: Iterable[PlannedTopic]) -> Iterator[PlannedTopic]:
    """Each topic once, with all that it is, and for whom."""
    found: dict[str, PlannedTopic] = {}
    for topic in topics:
        one = found.setdefault(topic.name, topic)
        found[topic.name] = replace(
            one,
            kinds=tuple(dict.fromkeys((*one.kinds, *topic.kinds))),
            functions=tuple(dict.fromkeys((*one.functions, *topic.functions))),
        )
    yield from found.values()


def _acls(app: str, spec: FunctionSpec) -> Iterator[Acl]:
    """READ and WRITE include DESCRIBE."""
    group = group_of(app, spec.name)
    yield Acl("group", group, "literal", "READ")
    for name in spec.topics:
        yield from _on_topic(name, "READ")
    for name in spec.emits:
        yield from _on_topic(name, "WRITE")
    if (letters := dead_letter_topic(app, spec)) is not None:
        yield from _on_topic(letters, "WRITE")
    if _retry_topics(app, spec):
        prefix = retry_topic_of(app, spec.name, "")
        yield from _on_topic(prefix, "READ", "prefixed")
        yield Acl("topic", prefix, "prefixed", "WRITE")
    yield from _on_topic(control_topic_of(app), "READ")
    if spec.guarantee == "effectively-once":
        yield Acl("transactional_id", f"{group}/", "prefixed", "WRITE")


def _on_topic(name: str, operation: str, pattern: Pattern = "literal") -> Iterator[Acl]:
    yield Acl("topic", name, pattern, operation)
    yield Acl("topic", name, pattern, "DESCRIBE_CONFIGS")  # its max.message.bytes
    yield Acl("topic", name, pattern, "CREATE", only_to_make=True)
