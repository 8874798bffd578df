"""Beginnings: functions that have no progress yet on a topic with a backlog, and where they are to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.functions.errors import SettingsError
from headrace.functions.names import group_of
from headrace.runtime.ports import Lag, TopicInfo
from headrace.sandbox.manifest import FunctionSpec

BACKLOG = 1000
"""More events than this are a backlog: to handle them all may be as wrong as to pass them over."""


class Beginning(NamedTuple):
    """A function that nobody told where to start, and how many events its topic has."""

    function: str
    topic: str
    events: int


class Beginnings:
    """The functions of an app, as they find their topics. `lags` are those of all groups of the app."""

    def __init__(
        self, app: str, functions: Sequence[FunctionSpec], topics: Mapping[str, TopicInfo], lags: Sequence[Lag]
    ) -> None:
        self._app = app
        self._functions = functions
        self._topics = topics
        self._known = {(lag.group, lag.partition[0]) for lag in lags}

    def undecided(self) -> list[Beginning]:
        """Those that nobody told where to start, on topics with a backlog."""
        found = [
            Beginning(spec.name, topic, sum(bounds.end - bounds.start for bounds in self._topics[topic].bounds))
            for spec in self._functions
            for topic in spec.topics
            if spec.start is None and (group_of(self._app, spec.name), topic) not in self._known
        ]
        return [one for one in found if one.events > BACKLOG]

    def check(self) -> None:
        """Raise `SettingsError` for the first of them, with what it may have been called before."""
        for name, topic, events in self.undecided():
            raise SettingsError(
                f"function {name!r} has no progress on topic {topic!r}, which has {events:,} events: say where it is "
                f"to start with --start {name}=earliest (or latest, or a time), or start= in its declaration."
                f"{self._renamed()}"
            )

    def _renamed(self) -> str:
        groups = {group_of(self._app, spec.name) for spec in self._functions}
        orphans = sorted({group for group, _ in self._known if group not in groups})
        if not orphans:
            return ""
        old = orphans[0].removeprefix(f"{self._app}.")
        return (
            f" There is progress of {', '.join(orphans)}, and no such function: was it renamed? Then keep name={old!r}"
        )

    def __repr__(self) -> str:
        return f"<Beginnings of {self._app}: {len(self.undecided())} undecided>"
