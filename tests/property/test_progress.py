"""Progress against a model that remembers everything."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.runtime.custody import Custody
from headrace.runtime.ports import Record
from headrace.runtime.progress import MAGIC, BadProgress, Charge, Progress


def record(offset: int) -> Record:
    return Record(offset, 0, None, b"", b"")


class ProgressMachine(RuleBasedStateMachine):
    """Deliver with gaps, finish in any order, charge, and restart at any moment from what was encoded."""

    @initialize(start=st.integers(0, 1000), data=st.data())
    def begin(self, start: int, data: st.DataObject) -> None:
        gaps = data.draw(st.lists(st.integers(1, 4), min_size=60, max_size=60))
        self.log = [start + sum(gaps[: i + 1]) - gaps[0] for i in range(len(gaps))]
        self.progress = Progress(start)
        self.first = start
        self.open: list[int] = []
        self.done: set[int] = set()
        self.failures: dict[int, int] = {}

    def position(self) -> int:
        return self.progress.position

    @rule(count=st.integers(0, 9), beyond=st.integers(0, 3))
    def deliver(self, count: int, beyond: int) -> None:
        coming = [offset for offset in self.log if offset >= self.position()][:count]
        after = coming[-1] + 1 if coming else self.position()
        following = next((offset for offset in self.log if offset >= after), after)
        position = min(after + beyond, following) if coming else after
        fresh = [r.offset for r in self.progress.deliver([record(o) for o in coming], position)]
        assert fresh == [offset for offset in coming if offset not in self.done]
        self.open += fresh

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.open))
        self.open.remove(offset)
        self.progress.finish(offset)
        self.done.add(offset)
        self.failures.pop(offset, None)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), due=st.integers(0, 2**45))
    def charge(self, data: st.DataObject, due: int) -> None:
        offset = data.draw(st.sampled_from(self.open))
        self.failures[offset] = self.failures.get(offset, 0) + 1
        assert self.progress.charge(offset, due) == self.failures[offset]

    @rule(alive=st.booleans(), deaths=st.integers(0, 9), started=st.none() | st.integers(0, 2000))
    def take_custody(self, alive: bool, deaths: int, started: int | None) -> None:
        self.progress.custody = Custody(alive, deaths, self.progress.watermark, started)

    @rule()
    def restart(self) -> None:
        before = self.progress.custody
        self.progress = Progress.restore(self.progress.watermark, self.progress.encode())
        assert self.progress.custody == before
        self.open = []

    @invariant()
    def nothing_undone_is_below_the_watermark(self) -> None:
        below = [offset for offset in self.log if self.first <= offset < self.progress.watermark]
        assert all(offset in self.done for offset in below)

    @invariant()
    def the_watermark_is_as_high_as_it_can_be(self) -> None:
        undone = [offset for offset in self.log if offset not in self.done]
        if self.open:
            assert self.progress.watermark == min(self.open)
        assert not undone or self.progress.watermark <= max(self.position(), undone[0])

    @invariant()
    def no_failure_is_forgotten(self) -> None:
        assert {o: c.failures for o, c in self.progress.ledger.items()} == self.failures


TestProgress = ProgressMachine.TestCase


@given(st.binary(max_size=40))
def test_foreign_bytes_are_refused_never_misread(data: bytes) -> None:
    if data.startswith(MAGIC) or not data:
        return
    with pytest.raises(BadProgress):
        Progress.restore(5, data)


@given(st.binary(max_size=40))
def test_damaged_progress_raises_nothing_but_bad_progress(data: bytes) -> None:
    with contextlib.suppress(BadProgress):
        Progress.restore(5, MAGIC + data)


def test_progress_with_later_fields_is_read() -> None:
    import msgspec

    data = MAGIC + msgspec.msgpack.encode(
        [[2, 3], [[1, 2, 99, True, "later"]], [True, 1, 10, None, "later"], "later still"]
    )
    progress = Progress.restore(10, data)
    assert progress.done_beyond == 3
    assert progress.ledger == {11: Charge(2, 99, alone=True)}
    assert progress.custody == Custody(alive=True, deaths=1, mark=10)


def test_progress_written_before_there_was_custody_is_read() -> None:
    import msgspec

    progress = Progress.restore(10, MAGIC + msgspec.msgpack.encode([[], [[0, 1, 5]]]))
    assert progress.ledger == {10: Charge(1, 5)}
    assert progress.custody == Custody()
