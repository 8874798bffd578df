"""The line-up: which of the events a worker has received may start now. A plain state machine.

For a worker that runs several events at once. Events of one lane start in the order in which they came, each after the
one before has ended; beyond that they start in the order in which they may. After an event that did not end well its
lane is blocked for the rest of its chunk, or until an event of a higher epoch: what is passed over then is answered
`NotRun`, in its place. A lane's events are in one chunk at a time, so a later chunk was sent knowing how this one
ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from headrace.sandbox.wire import Chunk, Task

LaneKey = tuple[object, ...]

# A task's lane within its chunk, whose events are of one partition. A null key is a lane of its own.
LANES: dict[str, Callable[[Task], object]] = {
    "key": lambda task: task.offset if task.key is None else task.key,
    "partition": lambda _task: None,
    "none": lambda task: task.offset,
}


class Lane:
    """The events of one lane that wait behind one that may start or runs. `nth` and `epoch` say what is blocked."""

    __slots__ = ("epoch", "key", "nth", "waiting")

    def __init__(self, key: LaneKey) -> None:
        self.key = key
        self.waiting: deque[Entry] = deque()
        self.nth = 0
        self.epoch = 0

    def __repr__(self) -> str:
        return f"<Lane {self.key!r}, {len(self.waiting)} waiting>"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An event in its place: of the `nth` chunk that was received, from 1. `lane` is None if it is one of its own."""

    chunk: Chunk
    nth: int
    index: int
    task: Task
    lane: Lane | None


class Lineup:
    """The events of a worker that have not started. `order` is "key", "partition" or "none"."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._lanes: dict[LaneKey, Lane] = {}
        self._ready: deque[Entry] = deque()

    def offer(self, chunk: Chunk, nth: int) -> None:
        """A chunk was received."""
        for index, task in enumerate(chunk.tasks):
            key = self._key(chunk, task)
            if key is None:
                self._ready.append(Entry(chunk, nth, index, task, None))
            elif (lane := self._lanes.get(key)) is not None:
                lane.waiting.append(Entry(chunk, nth, index, task, lane))
            else:
                lane = self._lanes[key] = Lane(key)
                self._ready.append(Entry(chunk, nth, index, task, lane))

    def add(self, entry: Entry) -> None:
        """Take in what is a lane of its own."""
        self._ready.append(entry)

    @property
    def head(self) -> Entry | None:
        """The event to start next; None if none may start now."""
        return self._ready[0] if self._ready else None

    def take(self) -> Entry:
        """Take the head out: it starts now, or is given back."""
        return self._ready.popleft()

    def ended(self, entry: Entry, *, well: bool) -> list[Entry]:
        """An event that was taken has ended. Returns those of its lane that are passed over now, in order."""
        lane = entry.lane
        if lane is None:
            return []
        if not well:
            lane.nth, lane.epoch = entry.nth, entry.task.epoch
        passed: list[Entry] = []
        while lane.waiting:
            following = lane.waiting.popleft()
            if lane.nth != following.nth or lane.epoch < following.task.epoch:
                self._ready.append(following)
                return passed
            passed.append(following)
        del self._lanes[lane.key]
        return passed

    def _key(self, chunk: Chunk, task: Task) -> LaneKey | None:
        if self._order == "partition":
            return (chunk.topic, chunk.partition)
        if self._order == "none" or task.key is None:
            return None
        return (chunk.topic, chunk.partition, task.key)

    def __repr__(self) -> str:
        waiting = sum(len(lane.waiting) for lane in self._lanes.values())
        return f"<Lineup: {len(self._ready)} may start, {waiting} behind others of their lane>"
