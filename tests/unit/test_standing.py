"""How a function stands, told from outside where no runtime says it."""

from __future__ import annotations

import pytest

from headrace.runtime.ports import Lag, Record
from headrace.runtime.progress import Progress
from headrace.runtime.standing import Sight

NOW_MS = 1_800_000_000_000
LATER_MS = NOW_MS + 12_000
MEMBER = "headrace-shop at 10.0.0.1"


def progress(*failed: tuple[int, int], end: int) -> Lag:
    """A partition of `orders` up to `end` where all is done but what failed: offsets with when they are due."""
    known = Progress(0)
    known.deliver([Record(offset, 0, None, None, b"") for offset in range(end)], end)
    for offset in range(end):
        due = dict(failed).get(offset)
        known.finish(offset) if due is None else known.charge(offset, due)
    return Lag("shop.note", ("orders", 0), known.watermark, end, known.encode())


def standing(*lags: Lag, served: bool = True):
    members = {"shop.note": [MEMBER]} if served else {}
    return Sight("shop", NOW_MS, lags, members, {}, [], {}).standing("note")


def test_what_waits_for_another_attempt_is_retrying_and_its_time_is_said():
    found = standing(progress((1, LATER_MS), (3, LATER_MS + 5), end=5))
    assert (found.state, found.lag, found.waiting) == ("retrying", 2, 2)
    assert found.reason == f"2 wait for another attempt, the next at 2027-01-15 08:00:12 UTC; served by {MEMBER}"


def test_with_other_events_to_do_it_is_running_and_still_says_what_waits():
    lag = progress((1, LATER_MS), end=5)
    found = standing(lag._replace(end=9))
    assert (found.state, found.lag, found.waiting) == ("running", 5, 1)
    assert found.reason.startswith("1 wait for another attempt")


def test_an_event_whose_time_has_come_is_not_waiting():
    found = standing(progress((1, NOW_MS), end=5))
    assert (found.state, found.waiting, found.reason) == ("running", 0, f"served by {MEMBER}")


def test_what_lies_in_retry_topics_waits_too_and_what_is_redriven_does_not():
    aside = Lag("shop.note", ("shop.note.retry.10m", 0), 4, 6, b"")
    found = standing(progress(end=5), aside)
    assert (found.state, found.lag, found.waiting) == ("retrying", 2, 2)
    assert found.reason == f"2 wait for another attempt; served by {MEMBER}"
    redriven = Lag("shop.note", ("shop.note.retry.redrive", 0), 4, 6, b"")
    assert standing(progress(end=5), redriven).state == "running"


@pytest.mark.parametrize("data", [b"", b"nonsense"])
def test_progress_that_says_nothing_is_read_as_nothing(data):
    assert standing(Lag("shop.note", ("orders", 0), 3, 3, data)).state == "idle"
    assert standing(Lag("shop.note", ("orders", 0), 3, 4, data)).state == "running"


def test_who_is_not_served_is_stopped_whatever_waits():
    found = standing(progress((1, LATER_MS), end=5), served=False)
    assert (found.state, found.reason, found.waiting) == ("stopped", "no runtime serves it", None)
