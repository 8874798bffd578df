"""The page, seen from both ends."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from headrace.functions.problems import MAX_CONCURRENCY
from headrace.sandbox.page import SLOTS, UNATTENDED_NS, Page, Slot, create_page


@pytest.fixture
def ends() -> Iterator[tuple[Page, Page]]:
    fd = create_page()
    parent, worker = Page(fd), Page(fd)
    os.close(fd)
    yield parent, worker
    parent.close()
    worker.close()


def test_what_one_end_writes_the_other_reads(ends: tuple[Page, Page]) -> None:
    parent, worker = ends
    assert parent.running() == []
    worker.begin(7, 0, 123)
    assert parent.running() == [Slot(7, 0, 123)]
    worker.end()
    assert parent.running() == []
    parent.recall(3)
    assert worker.recalled == 3


def test_garbage_on_the_page_is_read_as_it_is(ends: tuple[Page, Page]) -> None:
    parent, worker = ends
    for at in range(len(worker.words)):
        worker.words[at] = 2**64 - 1
    slots = parent.running()
    assert len(slots) == SLOTS
    assert set(slots) == {Slot(2**64 - 1, 2**64 - 2, 2**64 - 1)}


def test_there_is_a_slot_for_each_event_that_may_run_at_once(ends: tuple[Page, Page]) -> None:
    parent, worker = ends
    for slot in range(MAX_CONCURRENCY):
        worker.begin(1, slot, 5, slot)
    assert parent.running() == [Slot(1, n, 5) for n in range(MAX_CONCURRENCY)]
    worker.end(7)
    assert len(parent.running()) == MAX_CONCURRENCY - 1
    assert MAX_CONCURRENCY == SLOTS


def test_ages_are_on_the_workers_clock(ends: tuple[Page, Page]) -> None:
    parent, worker = ends
    worker.begin(1, 0, 1_000, 0)
    worker.begin(1, 1, 1_500, 1)
    assert [age for _, age in parent.ages(3_000)] == [2_000, 1_500]
    worker.stood(400)
    worker.move_start(0, 600)
    assert [age for _, age in parent.ages(3_000)] == [2_000, 1_100]


def test_where_nobody_looks_after_the_clock_several_events_grow_no_older_and_one_does(ends: tuple[Page, Page]) -> None:
    parent, worker = ends
    worker.looked(10)
    worker.begin(1, 0, 0, 0)
    worker.begin(1, 1, 0, 1)
    assert [age for _, age in parent.ages(9 * UNATTENDED_NS)] == [UNATTENDED_NS + 10] * 2
    worker.end(1)
    assert [age for _, age in parent.ages(9 * UNATTENDED_NS)] == [9 * UNATTENDED_NS]
