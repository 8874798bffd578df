"""Lanes: events of one key are handled one after another, other keys go on.

One `Lanes` holds the events of one partition of one function that were delivered and have not ended. It is a plain
state machine: no clock, no process, no broker. A lane's events start in offset order, each after the one before has
ended:

- *waiting*: nothing of the lane is in a worker; it stands in the ready queue if it is not held;
- *flying*: some of its events are in one worker, in one chunk; its later events wait here;
- *held*: an event of it failed and waits for its next attempt; the lane waits with it. In order that is its first
  one; where the order was changed meanwhile, several may wait, and the lane waits for the last of them.

An event in `alone` is not handed out with others but by `take_alone`: a worker that dies under it then names it. In
batches, `parts` says with whom an event may be handed out: with those of its part, and without a part with any other
that has none. A part only shrinks, so that a batch that is divided again and again ends at single events.

What comes back from a worker unstarted goes to the head of its lane again, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from headrace.runtime.ports import Record

RECORD_BYTES = 64
"""About what a record takes beside its value and headers."""

LaneKey = bytes | int | None
"""A record's key; its offset, where each event is a lane of its own; None, where the partition is one lane."""


class Lane:
    """The events of one key, oldest first. `epoch` rises each time the lane is held (rule R1, `lane_epoch`)."""

    __slots__ = ("bytes", "epoch", "flying", "held", "key", "returned", "waiting")

    def __init__(self, key: LaneKey, record: Record, size: int) -> None:
        self.key = key
        self.waiting = [record]  # a list, as most lanes have one event, and a lane is made for nearly each event
        self.returned: tuple[Record, ...] = ()
        self.flying = 0
        self.held = 0  # how many of its events wait
        self.epoch = 0
        self.bytes = size

    @property
    def events(self) -> int:
        """How many it has, those in a worker included."""
        return len(self.waiting) + len(self.returned) + self.flying

    def __repr__(self) -> str:
        state = "held" if self.held else "flying" if self.flying else "waiting"
        return f"<Lane {self.key!r} {state}: {self.flying} flying, {len(self.waiting)} waiting>"


class Lanes:
    """The lanes of one partition of one function. `order` is "key", "partition" or "none"."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._by_key = order == "key"
        self._lanes: dict[LaneKey, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._ready_alone: deque[Lane] = deque()
        self.alone: set[int] = set()
        self.parts: dict[int, int] = {}
        self.events = 0
        self.bytes = 0
        self.held_events = 0
        self.held_bytes = 0

    def offer(self, records: Iterable[Record]) -> None:
        """Take delivered records in, in offset order."""
        lanes, key_of, by_key = self._lanes, self.key_of, self._by_key
        queue = self._queue if self.alone or self.parts else self._ready.append
        events = total = 0
        for record in records:
            size = len(record.value or b"") + len(record.headers) + RECORD_BYTES
            events += 1
            total += size
            key: LaneKey = record.key if by_key and record.key is not None else key_of(record)
            lane = lanes.get(key)
            if lane is None:
                lane = lanes[key] = Lane(key, record, size)
                queue(lane)
                continue
            lane.waiting.append(record)
            lane.bytes += size
            if lane.held:
                self.held_events += 1
                self.held_bytes += size
        self.events += events
        self.bytes += total

    def take(self, limit: int, max_bytes: int) -> list[tuple[Lane, Record]]:
        """Events to run next, in order, at most `limit` and about `max_bytes`; their lanes are flying from now on."""
        taken: list[tuple[Lane, Record]] = []
        room, ready, alone = max_bytes, self._ready, self.alone
        while ready and limit > 0 and room > 0:
            lane = ready.popleft()
            flying = 0
            for record in lane.waiting:
                if limit <= 0 or room <= 0 or (alone and record.offset in alone):
                    break
                room -= len(record.value or b"") + len(record.headers) + RECORD_BYTES
                limit -= 1
                flying += 1
                taken.append((lane, record))
            del lane.waiting[:flying]
            lane.flying += flying
        return taken

    def take_batch(self, limit: int, max_bytes: int) -> list[tuple[Lane, Record]]:
        """Like `take`, but only events of one part."""
        return self._take_part(self._ready, limit, max_bytes, alone=False)

    def take_part_alone(self, limit: int, max_bytes: int) -> list[tuple[Lane, Record]]:
        """Like `take_batch`, of events that have to run alone: without a part a single one."""
        record = self.peek_alone()
        is_single = record is not None and record.offset not in self.parts
        return self._take_part(self._ready_alone, 1 if is_single else limit, max_bytes, alone=True)

    def _take_part(self, queue: deque[Lane], limit: int, max_bytes: int, *, alone: bool) -> list[tuple[Lane, Record]]:
        taken: list[tuple[Lane, Record]] = []
        passed: list[Lane] = []
        part = self.parts.get(queue[0].waiting[0].offset) if queue else None
        room = max_bytes
        while queue and limit > 0 and room > 0:
            lane = queue.popleft()
            flying = 0
            for record in lane.waiting:
                offset = record.offset
                if limit <= 0 or room <= 0 or self.parts.get(offset) != part or (offset in self.alone) != alone:
                    break
                room -= size_of(record)
                limit -= 1
                flying += 1
                taken.append((lane, record))
            del lane.waiting[:flying]
            lane.flying += flying
            if not flying:
                passed.append(lane)
        queue.extendleft(reversed(passed))
        return taken

    def has_batch(self, size: int) -> bool:
        """Whether `take_batch` would give `size` events, or what is left of a batch that was divided."""
        events = 0
        for lane in self._ready:
            if self.parts and lane.waiting[0].offset in self.parts:
                return True
            events += len(lane.waiting)
            if events >= size:
                return True
        return False

    def take_alone(self) -> tuple[Lane, Record] | None:
        """The next event that has to run alone; None if there is none, or its lane is not free."""
        if not self._ready_alone:
            return None
        lane = self._ready_alone.popleft()
        lane.flying += 1
        return lane, lane.waiting.pop(0)

    def peek_alone(self) -> Record | None:
        """The event that `take_alone` would give."""
        return self._ready_alone[0].waiting[0] if self._ready_alone else None

    def peek(self) -> Record | None:
        """The event that would be handed out first; None if none may run."""
        queue = self._ready_alone or self._ready
        return queue[0].waiting[0] if queue else None

    def end(self, lane: Lane, record: Record) -> None:
        """A flying event has ended for good: done, skipped, or set aside."""
        size = size_of(record)
        lane.bytes -= size
        self.events -= 1
        self.bytes -= size
        if lane.held:
            self.held_events -= 1
            self.held_bytes -= size
        if self.alone:
            self.alone.discard(record.offset)
        if self.parts:
            self.parts.pop(record.offset, None)
        self._landed(lane)

    def end_all(self, events: Sequence[tuple[Lane, Record]]) -> None:
        """Like `end` for each, but quicker where nothing is held and nothing has to run alone."""
        if self.alone or self.held_events or self.parts:
            for lane, record in events:
                self.end(lane, record)
            return
        total = 0
        for lane, record in events:
            size = len(record.value or b"") + len(record.headers) + RECORD_BYTES
            total += size
            lane.bytes -= size
            lane.flying -= 1
            if not lane.flying:
                self._settle(lane)
        self.events -= len(events)
        self.bytes -= total

    def give_back(self, lane: Lane, record: Record) -> None:
        """A flying event was not run; it is the lane's next again."""
        lane.returned += (record,)
        self._landed(lane)

    def hold(self, lane: Lane, record: Record) -> None:
        """A flying event failed and will be tried again: its lane waits until `release`."""
        self._set_held(lane, lane.held + 1)
        lane.epoch += 1
        self.give_back(lane, record)

    def hold_waiting(self, key: LaneKey) -> Lane:
        """Hold a lane one of whose events waits for an attempt, charged in an earlier life."""
        lane = self._lanes[key]
        if not lane.held and not lane.flying:
            queue = self._ready if lane in self._ready else self._ready_alone
            queue.remove(lane)
        self._set_held(lane, lane.held + 1)
        return lane

    def release(self, lane: Lane) -> None:
        """The time of one event that waits has come."""
        if not lane.held:
            return
        self._set_held(lane, lane.held - 1)
        if not lane.held and not lane.flying:
            self._settle(lane)

    def open(self) -> list[Record]:
        """All that is not flying, in offset order."""
        records = [record for lane in self._lanes.values() for record in (*lane.returned, *lane.waiting)]
        return sorted(records, key=lambda record: record.offset)

    @property
    def ready(self) -> bool:
        """Whether `take` would give anything."""
        return bool(self._ready)

    @property
    def ready_alone(self) -> bool:
        """Whether `take_alone` would give anything."""
        return bool(self._ready_alone)

    def key_of(self, record: Record) -> LaneKey:
        """The lane of a record. A null key is a lane of its own, except where the partition is one lane."""
        if self._by_key:
            return record.offset if record.key is None else record.key
        return None if self._order == "partition" else record.offset

    def _landed(self, lane: Lane) -> None:
        lane.flying -= 1
        if lane.flying == 0:
            self._settle(lane)

    def _settle(self, lane: Lane) -> None:
        if lane.returned:
            lane.waiting[:0] = lane.returned
            lane.returned = ()
        if not lane.waiting:
            del self._lanes[lane.key]
        elif not lane.held:
            self._queue(lane)

    def _queue(self, lane: Lane) -> None:
        offset = lane.waiting[0].offset
        queue = self._ready_alone if self.alone and offset in self.alone else self._ready
        if self.parts and offset in self.parts:
            queue.appendleft(lane)  # what was divided is not kept waiting by a batch that fills
        else:
            queue.append(lane)

    def _set_held(self, lane: Lane, held: int) -> None:
        sign = bool(held) - bool(lane.held)
        self.held_events += sign * lane.events
        self.held_bytes += sign * lane.bytes
        lane.held = held

    def __repr__(self) -> str:
        held = sum(bool(lane.held) for lane in self._lanes.values())
        flying = sum(lane.flying for lane in self._lanes.values())
        return f"<Lanes: {self.events} events in {len(self._lanes)} lanes, {flying} flying, {held} lanes held>"


def size_of(record: Record) -> int:
    """About the memory a record takes, in bytes. Where it is asked for each event, it is written out."""
    return len(record.value or b"") + len(record.headers) + RECORD_BYTES
