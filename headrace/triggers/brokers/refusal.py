"""What a log of ours refuses, in the same words on each of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from headrace.functions.errors import BrokerError, Fenced, UnknownTopic
from headrace.functions.names import TOPIC_RULE, is_topic
from headrace.runtime.ports import Features, Settlement, TopicSpec

MOST_PARTITIONS = 1024


def check_spec(spec: TopicSpec) -> None:
    """Raise `BrokerError` for a topic that cannot be."""
    if not is_topic(spec.name):
        raise BrokerError(f"{spec.name!r} cannot name a topic: a name is {TOPIC_RULE}")
    if spec.partitions is not None and not 1 <= spec.partitions <= MOST_PARTITIONS:
        raise BrokerError(
            f"topic {spec.name!r} cannot have {spec.partitions} partitions; it takes 1 to {MOST_PARTITIONS} here"
        )
    if spec.cleanup not in {"delete", "compact", "compact,delete"}:
        raise BrokerError(
            f"topic {spec.name!r}: cleanup={spec.cleanup!r} is not 'delete', 'compact' or 'compact,delete'"
        )


def unknown_topic(name: str, others: Iterable[str]) -> UnknownTopic:
    """The error for a topic that is not there, with the one that was perhaps meant."""
    near = get_close_matches(name, others, n=1)
    meant = f"did you mean {near[0]!r}? It" if near else "it"
    return UnknownTopic(
        f"topic {name!r} does not exist on this log: {meant} is made when an event is emitted to it or a function "
        "subscribes to it"
    )


def no_partition(topic: str, number: int, count: int) -> BrokerError:
    """The error for a partition that the topic does not have."""
    return BrokerError(f"topic {topic!r} has no partition {number}: it has 0 to {count - 1}")


def refuse_transactions(group: str, *, wanted: bool, features: Features) -> None:
    """Raise `BrokerError` if transactions are wanted where there are none."""
    if wanted and not features.transactions:
        raise BrokerError(
            f"group {group!r} asks for settlements that are visible whole or not at all; this log does not have them: "
            "use guarantee='at-least-once', or another broker"
        )


def fenced(settlement: Settlement, epoch: int) -> Fenced:
    """The error for a settlement of an epoch that is over; `epoch` is the present one."""
    topic, partition = settlement.partition
    return Fenced(
        f"group {settlement.group!r} no longer holds partition {partition} of {topic!r} with epoch "
        f"{settlement.epoch} (it is at {epoch}): what was held for it is dropped, its new owner does it again"
    )
