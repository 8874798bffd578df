"""Lives: every event that a function has to handle, wherever it lies, and what is known of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from headrace.runtime.ports import Partition, Record
from headrace.sandbox.wire import Task
from simulation.work import lane_of

if TYPE_CHECKING:
    from simulation.session import Session

Place = tuple[Partition, int]
"""A partition and an offset."""


class Turn(NamedTuple):
    """The lane an event is in, and how many events of it are before."""

    lane: object
    place: int


@dataclass(eq=False)
class Event:
    """An event of one function: the record that it was first, and its lives: one for each record that it has been."""

    function: str
    origin: Place
    record: Record
    lives: list[Life] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # ids of every emit of every success
    barren: bool = False  # ended without an emit once: if that is not settled, another run may end otherwise

    def lying(self, partition: Partition) -> list[Life]:
        """Its lives in a partition: one, or more where it was written there twice."""
        return [life for life in self.lives if life.lies[0] == partition]

    def __repr__(self) -> str:
        (topic, partition), offset = self.origin
        return f"{self.function} {topic}/{partition}/{offset}"


@dataclass(eq=False)
class Life:
    """What is known of an event as one record of one partition, by whose progress it is to be done.

    In a retry topic it brought `brought` failures along, is not to start before `due_ms`, and goes on to another topic
    at `hop_ms` if that is sooner; `marked`: it has to run alone.
    """

    event: Event
    lies: Place
    turns: dict[str, Turn]  # by order
    brought: int = 0
    due_ms: int = 0
    hop_ms: int = 0
    marked: bool = False
    gone: bool = False  # compacted away: who has not read it never will
    starts: int = 0
    excuses: int = 0
    charged: int = 0  # failed attempts that were reported, in all sessions, and are to be in the ledger
    expected: int = 0  # what the ledger must say before the next start
    not_before_ms: int = 0  # what the last failure says of the next start
    state: str = "idle"  # running, ran, failed, ended; lost
    session: Session | None = None
    crashed: bool = False  # charged with a crash
    alone: bool = False  # a worker crashed while it and others ran, or under it alone: it has to run alone

    @property
    def offset(self) -> int:
        """Where it lies in its partition."""
        return self.lies[1]

    @property
    def moved(self) -> bool:
        """Whether it lies elsewhere than the event did first."""
        return self.lies != self.event.origin

    @property
    def in_hand(self) -> bool:
        """Whether it has started and its runtime has not learned how it ended."""
        return self.state in {"running", "ran"}

    def __repr__(self) -> str:
        (topic, partition), offset = self.lies
        now = f" now {topic}/{partition}/{offset}" if self.moved else ""
        return f"{self.event}{now} ({self.state}, started {self.starts} times)"


class Lives:
    """All of them, found by the record they are or were."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, Partition], dict[int, Life]] = defaultdict(dict)
        self._lanes: dict[tuple[str, Partition, str, object], list[Life]] = defaultdict(list)

    def born(self, function: str, orders: Collection[str], partition: Partition, record: Record) -> Life:
        """A record was written that a function has to handle, in one of these orders."""
        event = Event(function, (partition, record.offset), record)
        return self.lies(event, orders, (partition, record.offset))

    def lies(self, event: Event, orders: Collection[str], place: Place) -> Life:
        """An event is a record there from now on."""
        partition, offset = place
        task = Task(offset, 0, event.record.key, None, b"")
        lanes = {order: lane_of(order, task) for order in orders}
        fellows = {order: self._lanes[event.function, partition, order, lane] for order, lane in lanes.items()}
        turns = {order: Turn(lane, len(fellows[order])) for order, lane in lanes.items()}
        life = self._at[event.function, partition][offset] = Life(event, place, turns)
        event.lives.append(life)
        for lane in fellows.values():
            lane.append(life)
        return life

    def at(self, function: str, partition: Partition, offset: int) -> Life | None:
        """The event that a record is; None if it is none for that function."""
        return self._at[function, partition].get(offset)

    def lying(self, function: str, partition: Partition) -> Iterable[Life]:
        """The events of a partition."""
        return self._at[function, partition].values()

    def of(self, session: Session, task: Task) -> Life:
        """The event of a task."""
        return self._at[session.spec.name, session.claim[1]][task.offset]

    def event(self, function: str, origin: Place) -> Event | None:
        """The event of that origin."""
        life = self.at(function, *origin)
        return None if life is None or life.moved else life.event

    def caused(self, function: str, place: str) -> Event:
        """The event that an emit names as its cause, by topic/partition/offset of its origin."""
        topic, partition, offset = place.rsplit("/", 2)
        return self._at[function, (topic, int(partition))][int(offset)].event

    def lane(self, life: Life, order: str) -> list[Life]:
        """The events of its lane, oldest first."""
        return self._lanes[life.event.function, life.lies[0], order, life.turns[order].lane]

    def all(self) -> Iterator[Life]:
        """All of them."""
        return (life for lives in self._at.values() for life in lives.values())

    def __len__(self) -> int:
        return sum(len(lives) for lives in self._at.values())

    def __repr__(self) -> str:
        return f"<{len(self)} lives in {len(self._lanes)} lanes>"
