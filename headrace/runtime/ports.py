"""What the runtime needs from a broker and a clock. The docstrings are the contract; the contract suite tests them.

A broker is used from one event loop. Every call is bounded in time by the broker itself, and fails with an error of the
one tree (`BrokerUnavailable` if trying again may help). Nothing here imports a broker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

Partition = tuple[str, int]
"""A topic's name and a partition number."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record as it lies in the log. `timestamp` is in milliseconds since 1970; `headers` is a header block."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes


class Append(msgspec.Struct, frozen=True, gc=False):
    """One record to append. A `partition` of -1 leaves the choice to the broker.

    With `not_before_ms` (milliseconds since 1970; 0: at once) the record enters its topic when that time has come, and
    not before: see `Features.delayed`. What is due at one time enters in the order it was appended.
    """

    topic: str
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes
    not_before_ms: int = 0


class Position(NamedTuple):
    """Where a record was appended.

    The offset is -1 for one that waits for its time, and so is the partition, unless it was asked for: it is chosen
    when the record enters its topic.
    """

    topic: str
    partition: int
    offset: int


class Ticket(NamedTuple):
    """What an append is known by when it is made again, because its answer was lost: see `Features.once`.

    `producer` is an id that no other has; `number` counts its appends from 0. Those below `answered` have had their
    answers and are not made again, so that the broker may forget them.
    """

    producer: str
    number: int
    answered: int = 0


class Bounds(NamedTuple):
    """The offsets of a partition: the first one still there, and the one the next record will get."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Features:
    """What a broker can honour. An option that needs what is missing is refused at start.

    `progress_limit` is the largest `Settlement.progress` in bytes, None for no limit. `transactions`: a settlement is
    visible whole or not at all, if the group asks for that. `rebalance_s` is how long a member may take over `revoked`,
    in seconds, before the group goes on without it. `delayed`: a record may wait for its time (`Append.not_before_ms`)
    and then enters its topic exactly once, while any client has the log open, else as soon as one has; a broker without
    it refuses such a record. `once`: an append made again with the same `Ticket` appends nothing and answers the same,
    for a day, whichever client makes it; a broker without it takes no notice of tickets.
    """

    transactions: bool
    delayed: bool
    progress_limit: int | None
    seek_by_time: bool
    rebalance_s: float = 60.0
    once: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition in offset order, and the position after them.

    `next` may be beyond the last record: what lies between is not there for readers (compaction, markers).
    """

    partition: Partition
    records: Sequence[Record]
    next: int


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition handed to this member: the epoch to settle with, and the progress last settled, if any.

    `watermark` is None for a group without progress on the partition; the member then waits to be `seek`ed.
    """

    partition: Partition
    epoch: int
    watermark: int | None
    progress: bytes
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything that becomes durable together for one partition of one group: the one write verb.

    `watermark` is the offset below which all is done; `progress` is the runtime's own account of what lies beyond, and
    opaque to the broker.
    """

    group: str
    partition: Partition
    epoch: int
    watermark: int
    progress: bytes
    appends: Sequence[Append] = ()


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be there. `partitions` None takes the broker's default.

    Of each partition, records older than `retention_ms` are deleted, and the oldest of more than `retention_bytes`;
    None keeps them. `cleanup` is "delete", "compact" (the last record of each key stays, whatever the retention; a
    record without value removes its key after a time; one without key is refused) or "compact,delete". `max_bytes` is
    the most that a record of it may have; None takes the broker's default.
    """

    name: str
    partitions: int | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None
    cleanup: str = "delete"
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it is: its settings, the bounds of each partition, and its size in bytes.

    `max_bytes` is the most that a record of it may have, key and headers included; None if the broker sets no limit.
    `sizes` are the bytes of each partition, where they are known.
    """

    name: str
    bounds: Sequence[Bounds]
    bytes: int
    spec: TopicSpec = field(default_factory=lambda: TopicSpec(""))
    max_bytes: int | None = None
    sizes: Sequence[int] = ()


class Lag(NamedTuple):
    """How far a group is on one partition. `committed` is its watermark, `end` the offset of the next record.

    `start` is the first offset that is still there. `lost` is how many records retention deleted before the group had
    handled them; 0 where the broker does not count.
    """

    group: str
    partition: Partition
    committed: int
    end: int
    progress: bytes
    start: int = 0
    lost: int = 0


class Delayed(NamedTuple):
    """How many records wait for their time, and when the next of them is due (ms since 1970); None if none waits."""

    events: int = 0
    due_ms: int | None = None


class Member(Protocol):
    """One runtime's membership in one consumer group."""

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """Wait until there is something on a partition that is not paused, then return it, `limit` records at most.

        May return nothing (after a few seconds at most), so that the caller can look around. Records of a partition
        come in offset order, each once per assignment, from its `seek`ed position on.
        """
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch from `offset` on. Every assigned partition is fetched only after its first seek."""
        ...

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        """Stop or go on fetching these partitions; what was fetched and not yet polled is kept or fetched again."""
        ...

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Follow these topics instead; like `join`, it returns once a rebalance has given the member its share.

        The rebalance may revoke what the member keeps, and assign it again. Raises `UnknownTopic`.
        """
        ...

    async def leave(self) -> None:
        """Give all partitions up. What was not settled goes to the next owner."""
        ...

    @property
    def is_settled(self) -> bool:
        """Whether it has its share of the group, and no rebalance that it knows of is about to change that."""
        ...


class Rebalance(Protocol):
    """What a member is told about its partitions. Called one at a time, and awaited before the group goes on."""

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        """These partitions are this member's now."""
        ...

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """These partitions go to another once this returns: what runs must have ended, what is done be settled."""
        ...


class Reader(Protocol):
    """Reading without a group: nothing is committed, nobody else is affected."""

    async def read(self, partition: Partition, offset: int, limit: int) -> Fetched:
        """Up to `limit` records from `offset` on, at once, and nothing if there are none yet."""
        ...

    async def changed(self, timeout: float) -> None:
        """Wait until something may have been appended anywhere, or `timeout` seconds."""
        ...

    async def offset_at(self, partition: Partition, timestamp_ms: int) -> int:
        """The first offset whose record was appended at or after that time; the end if there is none."""
        ...

    async def delayed(self, topics: Collection[str]) -> Delayed:
        """What waits for its time (`Append.not_before_ms`) to enter these topics: nothing without `Features.delayed`.

        One whose time has come counts until it has entered its topic.
        """
        ...


class Admin(Protocol):
    """Topics and groups."""

    async def topics(self, names: Collection[str] | None = None) -> Mapping[str, TopicInfo]:
        """All topics by name; or those of `names` that are there."""
        ...

    async def ensure(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """Create those that are not there; the names created. Existing ones are left as they are."""
        ...

    async def alter(self, topic: TopicSpec) -> None:
        """Make a topic as `topic` says from now on: retention and cleanup as they stand there, None included.

        `partitions` and `max_bytes` stay as they are if None. Partitions are only ever added; a key may then belong to
        another one, and its new records have no order with its old ones. Raises `UnknownTopic`, and `BrokerError` for
        what cannot be, having changed nothing.
        """
        ...

    async def delete(self, name: str) -> None:
        """Delete a topic: its records, and the progress of all groups on it.

        Raises `UnknownTopic`, and `BrokerError`, naming it, while a group has a live member that reads the topic.
        """
        ...

    async def lag(self, prefix: str) -> Sequence[Lag]:
        """The progress of every group whose name begins with `prefix`, on every partition it has settled."""
        ...


class Groups(Protocol):
    """Consumer groups from outside: by one who is no member."""

    async def served(self, groups: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Who serves each of these groups now, each member in words; a group that nobody serves is left out."""
        ...

    async def move(self, group: str, marks: Mapping[Partition, int]) -> None:
        """Have the group go on from these watermarks, with no other progress there; returns once that is durable.

        Raises `BrokerError` that names its members, having moved nothing, if somebody serves the group.
        """
        ...


class Broker(Protocol):
    """A log: ordered partitions of records, and the progress of groups on them."""

    features: Features
    cluster: str
    """Names this log for good; the `source` of records that name none."""

    async def append(self, appends: Sequence[Append], *, ticket: Ticket | None = None) -> Sequence[Position]:
        """Append all, in order; returns once they are durable, those that wait for their time too.

        Raises `UnknownTopic`; `BrokerUnavailable` if they may or may not have been written: with a `ticket`, appending
        the same again is then right where `Features.once`.
        """
        ...

    async def settle(self, settlement: Settlement) -> None:
        """Make a settlement durable: its appends and its progress (see rule R4 for what holds between the two).

        Raises `Fenced` if the partition belongs to another epoch, having written nothing; `BrokerUnavailable` if it may
        or may not have been written: settling the same again is then right. A broker with transactions appends nothing
        a second time for a settlement whose progress is the last one written; one without publishes it again.
        Settlements of a partition are written in the order of the calls.
        """
        ...

    async def join(
        self, group: str, topics: Sequence[str], rebalance: Rebalance, *, transactional: bool = False
    ) -> Member:
        """Become a member of `group`; the first partitions are assigned when this returns. Raises `UnknownTopic`.

        `transactional`: each settlement of the group is visible whole or not at all, and only what others committed is
        read. It needs `Features.transactions`; a broker that can always does.
        """
        ...

    async def close(self) -> None:
        """Release everything. Calls under way fail with `BrokerUnavailable`."""
        ...


class Store(Broker, Admin, Groups, Reader, Protocol):
    """A broker with all its sides, as the door holds it."""


class Clock(Protocol):
    """Time as an input, so that tests can own it."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds since 1970: what goes into records."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: what waiting is measured with."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when `monotonic()` reaches `when`; the returned callable cancels."""
        ...
