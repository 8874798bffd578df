"""What a worker may report, against a plain model of what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.functions.errors import SandboxError
from headrace.sandbox.outcome import Divided, Failed, Failure
from headrace.sandbox.vetting import Flights
from headrace.sandbox.wire import Chunk, Report, Task

TASK = Task(0, 0, None, b"", b"")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_honest_reports_in_any_interleaving_land_everything(sizes: list[int], data: st.DataObject) -> None:
    flights = Flights({})
    left = dict(enumerate(sizes))
    for chunk, size in left.items():
        flights.add(Chunk(chunk, "t", 0, [TASK] * size))
    assert flights.events == sum(sizes)
    while left:
        chunk = data.draw(st.sampled_from(sorted(left)))
        count = data.draw(st.integers(1, left[chunk]))
        first = sizes[chunk] - left[chunk]
        flights.accept(Report(chunk, first, [None] * count))
        assert not flights.has(chunk, first + count - 1)
        left[chunk] -= count
        assert flights.has(chunk, first + count) == bool(left[chunk])
        if not left[chunk]:
            del left[chunk]
        assert flights.events == sum(left.values())


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
def test_reports_of_a_concurrent_worker_land_each_event_once_in_any_order(
    sizes: list[int], data: st.DataObject
) -> None:
    flights = Flights({}, in_order=False)
    for chunk, size in enumerate(sizes):
        flights.add(Chunk(chunk, "t", 0, [TASK] * size))
    open_ = {(chunk, index) for chunk, size in enumerate(sizes) for index in range(size)}
    while open_:
        chunk, first = data.draw(st.sampled_from(sorted(open_)))
        first -= data.draw(st.integers(0, 1))
        count = data.draw(st.integers(1, 3))
        events = {(chunk, index) for index in range(first, first + count)}
        if events <= open_:
            flights.accept(Report(chunk, first, [None] * count))
            open_ -= events
        else:
            with pytest.raises(SandboxError):
                flights.accept(Report(chunk, first, [None] * count))
            flights.accept(Report(chunk, min(i for c, i in open_ if c == chunk), [None]))
            open_.remove((chunk, min(i for c, i in open_ if c == chunk)))
        assert flights.events == len(open_)
        assert all(flights.has(c, i) == ((c, i) in open_) for c, size in enumerate(sizes) for i in range(-1, size + 1))


def test_a_failure_may_name_any_retry_rule_there_is_and_no_other() -> None:
    flights = Flights({}, rules=2)
    flights.add(Chunk(1, "t", 0, [TASK] * 3))
    flights.accept(Report(1, 0, [Failed(Failure("x", "y"), 1), Failed(Failure("x", "y"), None)]))
    for rule in (2, -1):
        with pytest.raises(SandboxError, match="rule"):
            flights.accept(Report(1, 2, [Failed(Failure("x", "y"), rule)]))


@given(
    size=st.integers(1, 5),
    before=st.integers(0, 5),
    chunk=st.integers(0, 2),
    first=st.integers(-3, 8),
    n=st.integers(0, 8),
)
def test_any_other_report_is_refused_and_changes_nothing(
    size: int, before: int, chunk: int, first: int, n: int
) -> None:
    before = min(before, size)
    flights = Flights({})
    flights.add(Chunk(1, "t", 0, [TASK] * size))
    if before:
        flights.accept(Report(1, 0, [None] * before))
    honest = chunk == 1 and first == before and 0 < n <= size - before
    if honest:
        flights.accept(Report(chunk, first, [None] * n))
        assert flights.events == size - before - n
    else:
        with pytest.raises(SandboxError):
            flights.accept(Report(chunk, first, [None] * n))
        assert flights.events == size - before


@pytest.mark.parametrize(
    ("batches", "events", "half"),
    [(False, 2, 0), (True, 1, 0), (True, 2, 2), (True, 2, -1)],
)
def test_only_a_batch_of_several_is_divided_and_into_two(batches: bool, events: int, half: int) -> None:
    flights = Flights({}, batches=batches)
    flights.add(Chunk(1, "t", 0, [TASK] * events))
    with pytest.raises(SandboxError, match="half"):
        flights.accept(Report(1, 0, [Divided(half)] * events))


def test_a_batch_that_was_divided_lands() -> None:
    flights = Flights({}, batches=True)
    flights.add(Chunk(1, "t", 0, [TASK] * 3))
    flights.accept(Report(1, 0, [Divided(0), Divided(0), Divided(1)]))
    assert flights.events == 0


@pytest.mark.parametrize("each_ns", [[1], [1, 2, 3], [1, -1], [1, 10**18]])
def test_durations_that_cannot_be_are_refused(each_ns: list[int]) -> None:
    flights = Flights({})
    flights.add(Chunk(1, "t", 0, [TASK] * 2))
    with pytest.raises(SandboxError, match="duration"):
        flights.accept(Report(1, 0, [None, None], 5, each_ns))
    flights.accept(Report(1, 0, [None, None], 5, [0, 86_400 * 10**9]))
