"""Lanes against a model: what may start, and in which order."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.runtime.lanes import Lane, Lanes
from headrace.runtime.ports import Record


class LanesMachine(RuleBasedStateMachine):
    """Offer, take, and let events end, come back or fail in any order that a worker could report."""

    @initialize(order=st.sampled_from(["key", "partition", "none"]))
    def begin(self, order: str) -> None:
        self.order = order
        self.lanes = Lanes(order)
        self.next = 0
        self.alive: dict[object, list[int]] = defaultdict(list)  # by lane: offsets that have not ended, in order
        self.chunks: list[list[tuple[Lane, Record]]] = []
        self.blocked: set[object] = set()  # lanes whose event failed in a chunk still being reported
        self.held: list[Lane] = []

    def lane_of(self, record: Record) -> object:
        if self.order == "partition":
            return "all"
        return record.offset if self.order == "none" or record.key is None else record.key

    @rule(keys=st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=8))
    def offer(self, keys: list[bytes | None]) -> None:
        records = [Record(self.next + i, 0, key, b"", b"") for i, key in enumerate(keys)]
        self.next += len(keys)
        self.lanes.offer(records)
        for record in records:
            self.alive[self.lane_of(record)].append(record.offset)

    @rule(limit=st.integers(1, 5))
    def take(self, limit: int) -> None:
        taken = self.lanes.take(limit, 1 << 20)
        flying = {self.lane_of(record) for chunk in self.chunks for _, record in chunk}
        held = {lane.key for lane in self.held}
        by_lane: dict[object, list[int]] = defaultdict(list)
        for lane, record in taken:
            assert self.lane_of(record) not in flying, "a lane is in one chunk at a time"
            assert lane.key not in held, "a held lane waits"
            by_lane[self.lane_of(record)].append(record.offset)
        for name, offsets in by_lane.items():
            assert offsets == self.alive[name][: len(offsets)], "a lane's oldest events go first, in order"
        if taken:
            self.chunks.append(taken)

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def report_one(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(self.chunks))
        lane, record = chunk.pop(0)
        name = self.lane_of(record)
        outcome = "back" if name in self.blocked else data.draw(st.sampled_from(["end", "end", "back", "fail"]))
        if outcome == "end":
            self.lanes.end(lane, record)
            self.alive[name].remove(record.offset)
        elif outcome == "back":
            self.lanes.give_back(lane, record)
            self.blocked.add(name)
        else:
            before = lane.epoch
            self.lanes.hold(lane, record)
            assert lane.epoch == before + 1
            self.held.append(lane)
            self.blocked.add(name)
        if not any(self.lane_of(other) == name for _, other in chunk):
            self.blocked.discard(name)
        if not chunk:
            self.chunks.remove(chunk)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(self.held))
        self.held.remove(lane)
        self.lanes.release(lane)

    @invariant()
    def every_event_is_accounted_for(self) -> None:
        assert self.lanes.events == sum(len(offsets) for offsets in self.alive.values())
        assert (self.lanes.bytes == 0) == (self.lanes.events == 0)

    @invariant()
    def what_can_run_is_ready(self) -> None:
        flying = {self.lane_of(record) for chunk in self.chunks for _, record in chunk}
        held = {self.lane_of(lane.waiting[0] if lane.waiting else lane.returned[0]) for lane in self.held}
        free = [name for name, offsets in self.alive.items() if offsets and name not in flying | held]
        assert self.lanes.ready == bool(free)


TestLanes = LanesMachine.TestCase
