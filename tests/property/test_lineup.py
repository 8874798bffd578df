"""The line-up against a plain model: order within lanes, nothing lost, failures hold back the rest of their lane."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from headrace.sandbox.lineup import Entry, Lineup
from headrace.sandbox.wire import Chunk, Task

KEYS = st.sampled_from([None, b"a", b"b", b"c"])
TASKS = st.lists(st.tuples(KEYS, st.integers(0, 2)), min_size=1, max_size=6)


def lane_of(order: str, entry: Entry) -> object:
    if order == "partition":
        return entry.chunk.partition
    if order == "none" or entry.task.key is None:
        return (entry.nth, entry.index)
    return (entry.chunk.partition, entry.task.key)


@given(
    st.sampled_from(["key", "partition", "none"]),
    st.lists(st.tuples(st.integers(0, 1), TASKS), min_size=1, max_size=5),
    st.integers(1, 4),
    st.data(),
)
def test_events_of_a_lane_run_in_order_and_what_follows_a_failure_is_passed_over(
    order: str, sent: list[tuple[int, list[tuple[bytes | None, int]]]], room: int, data: st.DataObject
) -> None:
    lineup = Lineup(order)
    coming = [
        Chunk(n, "t", partition, [Task(i, 0, key, b"", b"", 1, epoch) for i, (key, epoch) in enumerate(tasks)])
        for n, (partition, tasks) in enumerate(sent, 1)
    ]
    running: list[Entry] = []
    ended: dict[object, list[tuple[int, int]]] = defaultdict(list)
    blocked: dict[tuple[int, object], int] = {}
    received = 0
    while coming or running or lineup.head is not None:
        if coming and (not running or data.draw(st.booleans())):
            received += 1
            lineup.offer(coming.pop(0), received)
        while len(running) < room and lineup.head is not None:
            entry = lineup.take()
            lane = lane_of(order, entry)
            assert lane not in {lane_of(order, other) for other in running}
            assert blocked.get((entry.nth, lane), -1) < entry.task.epoch
            running.append(entry)
        if running:
            entry = running.pop(data.draw(st.integers(0, len(running) - 1)))
            well = data.draw(st.booleans())
            lane = lane_of(order, entry)
            if not well:
                blocked[entry.nth, lane] = entry.task.epoch
            ended[lane].append((entry.nth, entry.index))
            for passed in lineup.ended(entry, well=well):
                assert lane_of(order, passed) == lane
                assert blocked[passed.nth, lane] >= passed.task.epoch
                ended[lane].append((passed.nth, passed.index))
    assert all(places == sorted(places) for places in ended.values())
    everything = sorted(place for places in ended.values() for place in places)
    assert everything == [(n, i) for n, (_, tasks) in enumerate(sent, 1) for i in range(len(tasks))]


def test_its_state_is_in_its_repr() -> None:
    lineup = Lineup("key")
    lineup.offer(Chunk(1, "t", 0, [Task(n, 0, b"k", b"", b"") for n in range(3)]), 1)
    assert repr(lineup) == "<Lineup: 1 may start, 2 behind others of their lane>"
