"""Kafka's failures in the words of the one error tree: what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from aiokafka import errors

from headrace.functions.errors import BrokerError, BrokerUnavailable, UnknownTopic
from headrace.triggers.brokers.kafka.rights import lacking

# What a new client, or the same one a little later, may get past.
_PASSING = (
    errors.KafkaTimeoutError,
    errors.ProducerClosed,
    errors.ProducerFenced,
    errors.OutOfOrderSequenceNumber,
    errors.InvalidProducerEpoch,
    errors.UnknownProducerId,
    errors.ConsumerStoppedError,
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.CorruptRecordException,
    TimeoutError,
    OSError,
)


def translated(error: BaseException, doing: str, where: str) -> BrokerError:
    """The error of ours for one of aiokafka's, met while `doing` something on the cluster at `where`."""
    if isinstance(error, BrokerError):
        return error
    return _unreachable(error, doing, where) or _refused(error, doing, where)


def _unreachable(error: BaseException, doing: str, where: str) -> BrokerError | None:
    if isinstance(error, TimeoutError | errors.KafkaTimeoutError | errors.RequestTimedOutError):
        return BrokerUnavailable(
            f"{doing}: Kafka at {where} did not answer in time; it is tried again. If that "
            "goes on, see that it runs, and that address, security settings and network are right"
        )
    if isinstance(error, errors.KafkaConnectionError | errors.NodeNotReadyError | OSError):
        return BrokerUnavailable(
            f"{doing}: Kafka at {where} cannot be reached: see that it runs, and that address, security settings and "
            "network are right"
        )
    return None


def _refused(error: BaseException, doing: str, where: str) -> BrokerError:
    said = str(error) or type(error).__name__  # aiokafka's own begin with the name
    if (right := lacking(error, doing)) is not None:
        return BrokerError(
            f"{doing}: Kafka at {where} does not allow it: grant {right}; "
            "`headrace topics plan` lists all that is needed"
        )
    if isinstance(error, errors.InconsistentGroupProtocolError):
        return BrokerError(
            f"{doing}: the group has other consumers at {where}, which share its partitions out in another way: stop "
            "them, or give the app or the function another name"
        )
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return UnknownTopic(f"{doing}: Kafka at {where} does not know the topic or partition ({said})")
    if isinstance(error, _PASSING) or type(error) is errors.KafkaError or getattr(error, "retriable", False):
        return BrokerUnavailable(f"{doing}: Kafka at {where} could not do it now ({said}); it is tried again")
    return BrokerError(f"{doing}: Kafka at {where} refused it ({said})")


def raise_for(code: int, about: str) -> None:
    """Raise aiokafka's error for an error code of an answer, if it is one."""
    if code:
        # Its classes without a code of their own take any arguments.
        kind: Any = errors.for_code(code)
        raise kind(about)


def unknown_topic(name: str, others: Iterable[str]) -> UnknownTopic:
    """The error for a topic that is not there, with the one that was perhaps meant."""
    near = get_close_matches(name, others, n=1)
    meant = f"did you mean {near[0]!r}? It" if near else "it"
    return UnknownTopic(
        f"topic {name!r} does not exist on this cluster: {meant} is made when a function starts that subscribes or "
        "emits to it, or with Kafka's own tools. One that this user has no right to (DESCRIBE) cannot be seen"
    )
