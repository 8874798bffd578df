"""The plug-in for pytest, `headrace`: the fixture `headrace_app`, and what happened in the apps of a test that fails.

It is loaded at each start of pytest, so it imports nothing else before a test asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headrace.testing.fixture import AppFixture


@pytest.fixture
def headrace_app(request: pytest.FixtureRequest) -> Iterator[AppFixture]:
    """The functions of this project, as `headrace run` would find them from pytest's root folder, as a `TestApp`.

    Called, it makes an app of other functions: `headrace_app(confirm_order, seed=7)`. All end with the test.
    """
    from headrace.testing.fixture import AppFixture  # noqa: PLC0415

    apps = AppFixture(request.config.rootpath)
    yield apps
    apps.end()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What earlier tests made is not this one's."""
    if (register := sys.modules.get("headrace.testing.register")) is not None:
        register.forget()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure what happened in the apps of the test."""
    report = yield
    register = sys.modules.get("headrace.testing.register")
    if register is not None and report.failed:
        report.sections += [(f"headrace: what happened in {app!r}", app.story()) for app in register.apps()]
    return report
