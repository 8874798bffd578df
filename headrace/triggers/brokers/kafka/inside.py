"""What we use of aiokafka that it does not publish, and why. Nothing else in this room reaches behind its names.

Written against aiokafka 0.12 to 0.14; `tests/integration/test_kafka_inside.py` tells when one of these is gone.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition, errors
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.producer.transaction_manager import TransactionState
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record import MemoryRecords

from headrace.runtime.ports import Partition
from headrace.triggers.brokers.kafka.failure import raise_for
from headrace.triggers.brokers.kafka.mark import Mark

Listener: Any = ConsumerRebalanceListener
FETCH_BYTES = 1 << 20

# -- connections -------------------------------------------------------------------------------------------------------


def knows_brokers(client: Any) -> bool:
    """Whether a client, or the one of a consumer or producer, was told of any broker: one that was let in is.

    aiokafka does not wait for the answer to an OAUTHBEARER token, and takes the refusal of all that follows for an
    empty cluster.
    """
    return bool(_client(client).cluster.brokers())


def bootstrap_well(client: Any) -> None:
    """Have no connection left over when the first question to a cluster is given up.

    aiokafka has that connection nowhere but in the frame that asks.
    """
    holder, bootstrap = _client(client), _client(client).bootstrap

    async def ask() -> None:
        try:
            await bootstrap()
        except BaseException as error:
            for frame, _ in traceback.walk_tb(error.__traceback__):
                if (connection := frame.f_locals.get("bootstrap_conn")) is not None:
                    connection.close()
            raise

    holder.bootstrap = ask


def _client(client: Any) -> Any:
    return client if hasattr(client, "cluster") else client._client


# -- fetching without a consumer ---------------------------------------------------------------------------------------


def fetch_request(partition: Partition, offset: int) -> Any:
    """A fetch of committed records that is answered at once."""
    topic, number = partition
    return FetchRequest(0, 1, FETCH_BYTES, READ_COMMITTED, [(topic, [(number, offset, FETCH_BYTES)])])


def fetched_records(answer: Any, partition: Partition, offset: int) -> tuple[Any, int]:
    """The records in the answer to a `fetch_request`, decoded as they are iterated, and the last stable offset."""
    (((_, parts),),) = (answer.topics,)
    ((_, code, _highwater, stable, *rest),) = parts
    raise_for(code, f"{partition[0]}/{partition[1]}")
    aborted = rest[1] if answer.API_VERSION >= 11 else rest[-2]
    held = MemoryRecords(rest[-1] or b"")
    records = PartitionRecords(TopicPartition(*partition), held, aborted, offset, None, None, True, READ_COMMITTED)
    return records, stable


# -- a consumer's membership -------------------------------------------------------------------------------------------


def assignor() -> Any:
    """A sticky assignor for one member. aiokafka's keeps what a member had on the class, for all groups alike."""
    return type("Sticky", (StickyPartitionAssignor,), {})


def membership(consumer: Any) -> tuple[int, str]:
    """The generation of the group and the member's id in it: what a commit is fenced by."""
    return consumer._coordinator.generation, consumer._coordinator.member_id


def rejoin(consumer: Any) -> None:
    """Ask the group for a new assignment."""
    consumer._coordinator.request_rejoin()


def note_beats(consumer: Any, noted: Callable[[float], None]) -> Callable[[], Any]:
    """Have `noted` told when each good heartbeat was sent, in `time.monotonic()`; what is returned sends one now.

    aiokafka knows it only within its own task.
    """
    coordinator = consumer._coordinator
    beat = coordinator._do_heartbeat

    async def noting() -> bool:
        sent = time.monotonic()
        if good := await beat():
            noted(sent)
        return bool(good)

    coordinator._do_heartbeat = noting
    return noting


def is_dead(consumer: Any) -> bool:
    """Whether one of its tasks has ended, so that it will never do anything again."""
    tasks = (consumer._coordinator._coordination_task, consumer._fetcher._fetch_task)
    return any(task.done() for task in tasks)


def check(consumer: Any) -> None:
    """Raise what the group's coordinator has refused, once."""
    try:
        consumer._coordinator.check_errors()
    except asyncio.CancelledError as error:  # that of its task: nobody has cancelled ours
        raise errors.ConsumerStoppedError("the consumer's task has ended") from error


def end_heartbeats_well(consumer: Any) -> None:
    """Have a change of subscription during a takeover not end the consumer.

    aiokafka ends its heartbeats for that, which may not have begun; awaiting them then cancels who ends them.
    """
    coordinator = consumer._coordinator

    async def end() -> None:
        beats, coordinator._heartbeat_task = coordinator._heartbeat_task, None
        if beats is not None:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)

    coordinator._stop_heartbeat_task = end


async def commit(
    consumer: Any, membership: tuple[int, str], marks: Mapping[Partition, Mark]
) -> dict[Partition, errors.KafkaError | None]:
    """Commit as the member of that generation; what became of each partition.

    aiokafka's own commit takes the present generation, hides which partition failed, and retries for ever.
    """
    coordinator = consumer._coordinator
    generation, member_id = membership
    topics: dict[str, list[Any]] = {}
    for (topic, number), mark in marks.items():
        topics.setdefault(topic, []).append((number, mark.watermark, mark.metadata))
    await coordinator.ensure_coordinator_known()
    request = OffsetCommitRequest(coordinator.group_id, generation, member_id, -1, list(topics.items()))
    answer = await coordinator._send_req(request)
    outcome: dict[Partition, errors.KafkaError | None] = {}
    for topic, parts in answer.topics:
        for number, code in parts:
            outcome[topic, number] = errors.for_code(code)() if code else None
    if any(isinstance(one, _MOVED) for one in outcome.values()):
        coordinator.coordinator_dead()
    return outcome


_MOVED = (errors.GroupCoordinatorNotAvailableError, errors.NotCoordinatorForGroupError)

# -- a consumer's fetching ---------------------------------------------------------------------------------------------


def buffered(consumer: Any) -> Collection[Any]:
    """The partitions of which something was fetched and not taken yet; an error counts."""
    return list(consumer._fetcher._records)


def arrival(consumer: Any) -> asyncio.Future[None]:
    """Done when something more was fetched."""
    waiter: asyncio.Future[None] = consumer._fetcher._create_fetch_waiter()
    return waiter


def touch(consumer: Any) -> None:
    """Say that the consumer is in use: one that is not polled for `max_poll_interval` leaves the group.

    Also mends its count of polls under way, which a poll that raised leaves one too high, for ever "polling".
    """
    subscription = consumer._subscription
    subscription._fetch_count = 0
    subscription._last_fetch_ended = time.monotonic()


def set_patience(consumer: Any, milliseconds: int) -> None:
    """How long the broker may keep a fetch that finds nothing.

    There is one fetch under way for each broker, and the broker answers in order: what is resumed or sought meanwhile
    waits for it.
    """
    consumer._fetcher._fetch_max_wait_ms = milliseconds


# -- transactions ------------------------------------------------------------------------------------------------------


def is_in_transaction(producer: Any) -> bool:
    """Whether a transaction is open that can be aborted."""
    manager = producer._txn_manager
    return manager is not None and manager.state in {TransactionState.IN_TRANSACTION, TransactionState.ABORTABLE_ERROR}


def forget_transaction(producer: Any) -> None:
    """Look at how the last transaction failed, if it did: asyncio complains of failures that nobody looked at."""
    waiter = producer._txn_manager._transaction_waiter
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()


# -- the end -----------------------------------------------------------------------------------------------------------


def kill_consumer(consumer: Any) -> None:
    """End what a `stop()` has left running, in good time or not."""
    consumer._closed = True
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    tasks = []
    if coordinator is not None:
        tasks += [coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task]
    if fetcher is not None:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    _kill(tasks, consumer._client)


def kill_producer(producer: Any) -> None:
    """The same for a producer."""
    producer._closed = True  # else it complains when it is collected
    producer._message_accumulator.fail_all(errors.ProducerClosed())
    _kill([producer._sender.sender_task], producer.client)


def kill_client(client: Any) -> None:
    """The same for a bare client and its `close()`."""
    _kill([], client)


def _kill(tasks: list[asyncio.Task[Any] | None], client: Any) -> None:
    for task in (*tasks, client._sync_task):
        if task is not None:
            task.cancel()
    client._conns = _Ended(client._conns)


class _Ended(dict[Any, Any]):
    """The connections of a client that has ended: one that somebody was still making is closed when it comes."""

    def __init__(self, connections: Mapping[Any, Any]) -> None:
        super().__init__(connections)
        for connection in connections.values():
            connection.close()

    def __setitem__(self, place: Any, connection: Any) -> None:
        super().__setitem__(place, connection)
        connection.close()
