"""What a log of ours refuses, in the same words on each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from headrace.functions.errors import BrokerError, Fenced, UnknownTopic
from headrace.functions.names import TOPIC_RULE, is_topic
from headrace.runtime.ports import Append, Features, Settlement, TopicSpec
from headrace.sandbox.headers import record_size

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
    for setting in ("retention_ms", "retention_bytes", "max_bytes"):
        if (value := getattr(spec, setting)) is not None and value < 1:
            raise BrokerError(f"topic {spec.name!r}: {setting}={value} is not 1 or more; None is no limit")


def check_append(append: Append, spec: TopicSpec) -> None:
    """Raise `BrokerError` for a record that a topic's settings do not allow."""
    if append.key is None and "compact" in spec.cleanup:
        raise keyless(spec.name)
    if spec.max_bytes is None:
        return
    if (size := record_size(append.key, append.value, append.headers)) > spec.max_bytes:
        raise BrokerError(
            f"a record of {size:,} bytes is too large for topic {spec.name!r}, which takes {spec.max_bytes:,}: send "
            f"less, or raise the limit with `headrace topics alter {spec.name} --max-bytes N`"
        )


def keyless(topic: str) -> BrokerError:
    """The error for a record without a key in a compacted topic."""
    return BrokerError(
        f"topic {topic!r} is compacted (it keeps the last record of each key), so a record without a key cannot be "
        "appended to it: give it a key"
    )


def fewer_partitions(name: str, count: int, wanted: int) -> BrokerError:
    """The error for taking partitions away."""
    return BrokerError(
        f"topic {name!r} has {count} partitions and cannot have {wanted}: partitions can only be added, because "
        "records lie in them. For fewer, make another topic and copy what is needed"
    )


def still_read(name: str, group: str, member: str) -> BrokerError:
    """The error for deleting a topic that somebody reads."""
    return BrokerError(
        f"topic {name!r} is being read by group {group!r} ({member}): stop what serves it, or take the topic out of "
        "its subscription, and delete it then"
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


def refuse_delayed(appends: Sequence[Append], features: Features) -> None:
    """Raise `BrokerError` if a record is to wait for its time where none can."""
    if not features.delayed and any(one.not_before_ms for one in appends):
        raise BrokerError(
            "this log cannot keep an event back until its time (delay, not_before): emit it when the time has come, "
            "or use the embedded log (--broker sqlite:PATH)"
        )


def fenced(settlement: Settlement, epoch: int) -> Fenced:
    """The error for a settlement of an epoch that is over; `epoch` is the present one."""
    topic, partition = settlement.partition
    return Fenced(
        f"group {settlement.group!r} no longer holds partition {partition} of {topic!r} with epoch "
        f"{settlement.epoch} (it is at {epoch}): what was held for it is dropped, its new owner does it again"
    )


def still_served(group: str, members: Iterable[str]) -> BrokerError:
    """The error for a group that cannot be moved, because it has members."""
    return BrokerError(
        f"group {group!r} is served by {', '.join(members)}: stop that first; progress of a group that runs would be "
        "written over"
    )
