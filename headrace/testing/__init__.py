"""Testing: run functions in a test, in virtual time, and look at what became of the events.

    from headrace.testing import TestApp

    def test_an_order_is_confirmed() -> None:
        app = TestApp(confirm_order)
        app.emit("orders", OrderPlaced(order_id="1", email="a@example.org"), key="1")
        app.run_until_idle()
        (mail,) = app.topic("emails")
        assert mail.model(EmailSent).to == "a@example.org"

`TestApp` is the runtime of production over a log in memory. `crash_points` has a scenario survive a crash before and
after each write to the log. `context` and `batch_context` are for calling a handler without running anything. The names
are imported on first use, because pytest loads this package's plug-in at each start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.testing.app import AppOptions, TestApp
    from headrace.testing.contexts import Emit, RecordingBatchContext, RecordingContext, batch_context, context
    from headrace.testing.crashes import CrashReport, check_crash_points, crash_points
    from headrace.testing.fixture import AppFixture
    from headrace.testing.views import Attempt, DeadLetter, StoredEvent

__all__ = [
    "AppFixture",
    "AppOptions",
    "Attempt",
    "CrashReport",
    "DeadLetter",
    "Emit",
    "RecordingBatchContext",
    "RecordingContext",
    "StoredEvent",
    "TestApp",
    "batch_context",
    "check_crash_points",
    "context",
    "crash_points",
]

_HOMES = {
    "app": {"AppOptions", "TestApp"},
    "contexts": {"Emit", "RecordingBatchContext", "RecordingContext", "batch_context", "context"},
    "crashes": {"CrashReport", "check_crash_points", "crash_points"},
    "fixture": {"AppFixture"},
    "views": {"Attempt", "DeadLetter", "StoredEvent"},
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
