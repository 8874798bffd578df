"""The register: which apps there are, for whoever tells what happened in them. It keeps none alive."""

from __future__ import annotations

import weakref
from typing import Protocol


class App(Protocol):
    """An app, by what is told of it: its `repr` says which it is."""

    def story(self) -> str:
        """What happened in it."""
        ...


_apps: list[weakref.ref[App]] = []


def enter(app: App) -> None:
    """There is one more."""
    _apps[:] = [known for known in _apps if known() is not None]
    _apps.append(weakref.ref(app))


def apps() -> list[App]:
    """All that are still there, in the order they were made."""
    return [app for known in _apps if (app := known()) is not None]


def forget() -> None:
    """Another test begins."""
    _apps.clear()
