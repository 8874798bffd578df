"""The time of the test kit is virtual: it passes as told, and the same happens each time."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mailroom
from mailroom import Mail, Order, archive, confirm, emit, orders_of

from headrace import Retry, function
from headrace.testing import TestApp


def test_time_passes_as_told() -> None:
    app = TestApp(confirm)
    emit(app, "flaky-1")
    app.advance(0)
    assert len(app.attempts(confirm)) == 1
    app.advance(59)
    assert len(app.attempts(confirm)) == 1
    app.advance(2)
    assert len(app.attempts(confirm)) == 2
    assert app.now == datetime(2026, 1, 1, 0, 1, 1, tzinfo=UTC)
    assert app.topic("emails") == []


def test_an_event_waits_for_its_time() -> None:
    app = TestApp(confirm)
    app.emit("orders", Order(id="1"), delay=30)
    app.emit("orders", Order(id="2"), not_before=app.now + timedelta(hours=1))
    app.advance(29)
    assert app.attempts() == []
    app.advance(2)
    assert orders_of(app) == ["1"]
    app.run_until_idle()
    assert orders_of(app) == ["1", "2"]
    assert app.now >= datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_retry_after_is_honoured_to_the_second() -> None:
    app = TestApp(confirm)
    emit(app, "later-1")
    app.run_until_idle()
    first, second = app.attempts(confirm)
    assert (first.error_type, first.retry_in, round(second.at - first.at)) == ("RetryAfter", 3600.0, 3600)
    assert orders_of(app) == ["later-1"]


@function("emails", retry=Retry(attempts=100, delay=60, factor=1, jitter="none", max_age=100))
def impatient(mail: Mail) -> None:
    raise ConnectionError(mail.order)


def test_old_events_are_not_retried_for_longer_than_max_age_of_virtual_time() -> None:
    app = TestApp(confirm, impatient)
    emit(app, "1")
    app.run_until_idle()
    assert [one.outcome for one in app.attempts(impatient)] == ["failed"] * 3
    assert [letter.attempt for letter in app.dead_letters(impatient)] == [3]


@function("orders", rate=2.0)
def slowly(order: Order) -> None: ...


def test_a_rate_is_kept_in_virtual_time() -> None:
    app = TestApp(slowly)
    emit(app, *"abcdefghij")
    app.run_until_idle()
    times = [one.at for one in app.attempts(slowly)]
    assert len(times) == 10
    assert times[-1] - times[0] >= 3.5


def test_equal_scenarios_leave_equal_events_in_equal_order_at_equal_times() -> None:
    def run() -> list[Any]:
        app = TestApp(confirm, archive, seed=3)
        emit(app, *(f"{kind}-{key}" for kind in ("flaky", "broken", "well", "later") for key in "abcdef"))
        app.run_until_idle()
        return [[str(attempt) for attempt in app.attempts()], app.topic("archive"), app.dead_letters()]

    assert run() == run()


_STORY = """
from headrace.testing import TestApp
from mailroom import archive, confirm, emit
app = TestApp(confirm, archive)
emit(app, *(f"{kind}-{key}" for kind in ("flaky", "broken", "well") for key in "abcdef"))
app.run_until_idle()
print(app.story())
"""


def test_the_same_happens_in_every_process() -> None:
    stories = {
        subprocess.run(
            [sys.executable, "-c", _STORY],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(mailroom.__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    (story,) = stories
    assert "flaky-c" in story


@function("orders", retry=Retry(attempts=3, delay=100.0))
def jittery(order: Order) -> None:
    raise ConnectionError(order.id)


def test_the_seed_decides_the_jitter() -> None:
    def delays(seed: int) -> list[float | None]:
        app = TestApp(jittery, seed=seed)
        app.emit("orders", Order(id="1"))
        app.run_until_idle()
        return [attempt.retry_in for attempt in app.attempts(jittery)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
