"""The register: which apps there are, for whoever tells what happened in them. It keeps none alive."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.testing.app import TestApp

_apps: list[weakref.ref[TestApp]] = []


def enter(app: TestApp) -> None:
    """There is one more."""
    _apps[:] = [known for known in _apps if known() is not None]
    _apps.append(weakref.ref(app))


def apps() -> list[TestApp]:
    """All that are still there, in the order they were made."""
    return [app for known in _apps if (app := known()) is not None]


def forget() -> None:
    """Another test begins."""
    _apps.clear()
