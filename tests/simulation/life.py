"""Lives: every event that a function has to handle, and what is known of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.runtime.ports import Partition, Record
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Task
from simulation.work import lane_of

if TYPE_CHECKING:
    from simulation.session import Session

Place = tuple[Partition, int]
"""A partition and an offset."""


@dataclass(eq=False)
class Life:
    """What is known of one event of one function.

    `origin` is the record that it was first; `lies` the one by whose progress it is to be done, which is another if it
    was moved on to a topic of the function's own.
    """

    origin: Place
    lane: object
    place_in_lane: int
    lies: Place
    gone: bool = False  # compacted away: who has not read it never will
    starts: int = 0
    excuses: int = 0
    charged: int = 0  # failed attempts that were reported, in all sessions
    expected: int = 0  # what the ledger must say before the next start
    not_before_ms: int = 0  # what the last failure says of the next start
    state: str = "idle"  # running, ran, failed, ended; lost
    session: Session | None = None
    crashed: bool = False  # charged with a crash
    alone: bool = False  # a worker crashed while it and others ran, or under it alone: it has to run alone
    barren: bool = False  # ended without an emit once: if that is not settled, another run may end otherwise
    known: set[str] = field(default_factory=set)  # ids of every emit of every success

    @property
    def offset(self) -> int:
        """Where it lies in its partition."""
        return self.lies[1]

    @property
    def in_hand(self) -> bool:
        """Whether it has started and its runtime has not learned how it ended."""
        return self.state in {"running", "ran"}

    def __repr__(self) -> str:
        (topic, partition), offset = self.origin
        return f"{topic}/{partition}/{offset} ({self.state}, started {self.starts} times)"


class Lives:
    """All of them, found by the record they are or were."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, Partition], dict[int, Life]] = defaultdict(dict)
        self._lanes: dict[tuple[str, Partition, object], list[Life]] = defaultdict(list)

    def born(self, spec: FunctionSpec, partition: Partition, record: Record) -> Life:
        """A record was written that a function has to handle."""
        lane = lane_of(spec.order, Task(record.offset, record.timestamp, record.key, None, b""))
        fellows = self._lanes[spec.name, partition, lane]
        place = (partition, record.offset)
        life = self._at[spec.name, partition][record.offset] = Life(place, lane, len(fellows), place)
        fellows.append(life)
        return life

    def at(self, function: str, partition: Partition, offset: int) -> Life | None:
        """The event that a record is; None if it is none for that function."""
        return self._at[function, partition].get(offset)

    def of(self, session: Session, task: Task) -> Life:
        """The event of a task."""
        return self._at[session.spec.name, session.claim[1]][task.offset]

    def from_(self, function: str, origin: Place) -> Life:
        """The event of that origin."""
        return self._at[function, origin[0]][origin[1]]

    def caused(self, function: str, place: str) -> Life:
        """The event that an emit names as its cause, by topic/partition/offset of its origin."""
        topic, partition, offset = place.rsplit("/", 2)
        return self.from_(function, ((topic, int(partition)), int(offset)))

    def lane(self, function: str, life: Life) -> list[Life]:
        """The events of its lane, oldest first."""
        return self._lanes[function, life.origin[0], life.lane]

    def all(self) -> Iterator[tuple[str, Life]]:
        """Each function's events."""
        return ((function, life) for (function, _), lives in self._at.items() for life in lives.values())

    def __len__(self) -> int:
        return sum(len(lives) for lives in self._at.values())

    def __repr__(self) -> str:
        return f"<{len(self)} lives in {len(self._lanes)} lanes>"
