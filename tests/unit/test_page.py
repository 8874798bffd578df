"""The page, seen from both ends."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from headrace.sandbox.page import Page, Slot, create_page


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
    assert (parent.running(), parent.finished) == ([], 1)
    parent.recall(3)
    assert worker.recalled == 3


def test_garbage_on_the_page_is_read_as_it_is(ends: tuple[Page, Page]) -> None:
    parent, worker = ends
    for at in range(len(worker.words)):
        worker.words[at] = 2**64 - 1
    slots = parent.running()
    assert len(slots) == 170
    assert set(slots) == {Slot(2**64 - 1, 2**64 - 2, 2**64 - 1)}
