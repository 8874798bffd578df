"""What a worker may report, against a plain model of what it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.functions.errors import SandboxError
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
