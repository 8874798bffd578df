"""Hooks: observers of what the runtime does. Called per chunk, on the event loop; they can change nothing.

A plug-in is any object with some of these methods, marked with `hookimpl`, and must return quickly. Built on pluggy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import pluggy
import structlog

from headrace.runtime.result import Result
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.process import Line

_PROJECT = "headrace"

hookspec = pluggy.HookspecMarker(_PROJECT)
hookimpl = pluggy.HookimplMarker(_PROJECT)


class Spec:
    """The hooks there are."""

    @hookspec
    def function_state(self, function: str, state: str, reason: str) -> None:
        """A function went to another state (running, idle, retrying, waiting-full, paused, stopped)."""

    @hookspec
    def handled(self, function: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts of events ended, in this order; not durable yet."""

    @hookspec
    def output(self, function: FunctionSpec, lines: Sequence[Line]) -> None:
        """A worker printed or logged."""


class Hooks(Protocol):
    """What the runtime calls."""

    def function_state(self, *, function: str, state: str, reason: str) -> Any:
        """See `Spec.function_state`."""
        ...

    def handled(self, *, function: FunctionSpec, results: Sequence[Result]) -> Any:
        """See `Spec.handled`."""
        ...

    def output(self, *, function: FunctionSpec, lines: Sequence[Line]) -> Any:
        """See `Spec.output`."""
        ...


def hooks_of(*plugins: object) -> Hooks:
    """Hooks that call these plug-ins."""
    manager = pluggy.PluginManager(_PROJECT)
    manager.add_hookspecs(Spec)
    for plugin in plugins:
        manager.register(plugin)
    return cast("Hooks", _Guarded(manager.hook))


class _Guarded:
    """A plug-in's error is logged and goes no further: observers never change an outcome."""

    def __init__(self, relay: Any) -> None:
        self._relay = relay

    def __getattr__(self, name: str) -> Any:
        caller = getattr(self._relay, name)

        def call(**arguments: Any) -> None:
            try:
                caller(**arguments)
            except Exception:  # noqa: BLE001  (a plug-in may raise anything)
                structlog.get_logger("headrace").exception("a plug-in failed", hook=name)

        return call
