"""The pytest fixture: an app that is made when it is first used, and a maker of others. It sees to their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from headrace.testing.app import AppOptions, TestApp
from headrace.testing.subject import Function, subject_at

_PARTS = {"_driver", "_emitted", "_finalizer", "_stage"}


class AppFixture(TestApp):
    """A `TestApp` of the default target in `folder`; called, it makes a `TestApp` of other functions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._others: list[TestApp] = []

    def __call__(self, *functions: Function, app: str = "test", **options: Unpack[AppOptions]) -> TestApp:
        """A `TestApp` of these functions, which ends with the test. Raises as `TestApp` does."""
        self._others.append(made := TestApp(*functions, app=app, **options))
        return made

    def end(self) -> None:
        """End all of them in order, where that can be done without the event loop of the test."""
        own: list[TestApp] = [self] if "_stage" in vars(self) else []
        for app in [*own, *self._others]:
            app._end_somehow()

    def __getattr__(self, name: str) -> Any:
        if name not in _PARTS or name in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._set(subject_at(None, self._folder, None), {})
        return vars(self)[name]

    def __repr__(self) -> str:
        return super().__repr__() if "_stage" in vars(self) else f"<AppFixture for {self._folder}: not used yet>"
