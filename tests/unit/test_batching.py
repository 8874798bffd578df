"""When a batch is handed out, and what divided ones wait for."""

from __future__ import annotations

from headrace.runtime.batching import Batching
from headrace.runtime.lanes import Lanes
from headrace.runtime.ports import Record
from headrace.sandbox.manifest import BatchPolicy


def batching(size: int = 3, wait: float = 0.5) -> tuple[Batching, Lanes]:
    lanes = Lanes("none")
    return Batching(BatchPolicy(size, wait), lanes), lanes


def offer(lanes: Lanes, *offsets: int) -> None:
    lanes.offer([Record(offset, 0, None, b"", b"") for offset in offsets])


def test_an_empty_partition_waits_for_nothing() -> None:
    batches, _ = batching()
    assert batches.look(1000) is None
    assert not batches.is_due


def test_a_full_batch_is_due_at_once_and_what_is_left_in_its_own_time() -> None:
    batches, lanes = batching()
    offer(lanes, 0, 1, 2, 3)
    assert batches.look(1000) is None
    assert batches.is_due
    assert len(lanes.take_batch(3, 1 << 20)) == 3
    assert batches.look() == 1500
    assert not batches.is_due


def test_the_wait_begins_with_the_first_event_that_could_run() -> None:
    batches, lanes = batching()
    offer(lanes, 0)
    assert batches.look(1000) == 1500
    offer(lanes, 1)
    assert batches.look(1400) == 1500
    assert batches.look(1500) is None
    assert batches.is_due
    lanes.take_batch(3, 1 << 20)
    assert batches.look(1600) is None
    offer(lanes, 2)
    assert batches.look(2000) == 2500


def test_a_clock_that_is_set_back_costs_one_wait_and_no_more() -> None:
    batches, lanes = batching()
    offer(lanes, 0)
    batches.look(1_000_000)
    assert batches.look(1000) == 1500


def test_a_batch_that_was_divided_waits_for_nobody_and_mixes_with_nobody() -> None:
    batches, lanes = batching(size=10)
    offer(lanes, 0, 1, 2, 3)
    for lane, record in lanes.take_batch(10, 1 << 20):
        lanes.parts[record.offset] = record.offset // 2
        lanes.give_back(lane, record)
    offer(lanes, 4, 5)
    assert batches.look(1000) is None
    assert batches.is_due
    taken = [[record.offset for _, record in lanes.take_batch(10, 1 << 20)] for _ in range(3)]
    assert sorted(map(sorted, taken)) == [[0, 1], [2, 3], [4, 5]]


def test_they_say_in_a_sentence_how_they_stand() -> None:
    batches, lanes = batching()
    assert repr(batches) == "<Batching of 3: empty, 0 events in parts>"
    offer(lanes, 0)
    batches.look(1000)
    assert repr(batches) == "<Batching of 3: filling since 1000 ms, 0 events in parts>"
