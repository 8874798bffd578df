"""Settling: when code that changes is loaded, and when what was found is acted upon. A plain state machine.

    changed -> due -> begin -> ended -> serve | tell | nothing, or wait and load once more

Code is loaded as soon as it changes, and served if it is whole. A half-written file, or one that an editor or a
checkout has taken away for a moment, looks like an error or like functions that are gone: that is believed only when
files have been quiet for a while and a load that began after that found the same.
"""

from __future__ import annotations

from enum import Enum

QUIET_S = 0.25


class Found(Enum):
    """What a load found, beside what is served."""

    SAME = "nothing new"
    READY = "other code for the same functions, or more of them"
    DRASTIC = "functions are gone, or subscribe to something else"
    BROKEN = "it cannot be loaded"


class Do(Enum):
    """What follows from a load."""

    NOTHING = "nothing"
    SERVE = "serve what was loaded"
    TELL = "tell why it cannot be served"
    WAIT = "load once more, when that is due"


_ACTS = {Found.SAME: Do.NOTHING, Found.READY: Do.SERVE, Found.DRASTIC: Do.SERVE, Found.BROKEN: Do.TELL}


class Settling:
    """Times are seconds of any clock that does not go back."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._changed_s = float("-inf")
        self._due_s: float | None = None
        self._began_s: float | None = None
        self._patient = False
        self._again = False

    @property
    def due_s(self) -> float | None:
        """When to load next; None if that depends on a change, or on the load under way."""
        return self._due_s

    @property
    def is_outdated(self) -> bool:
        """Whether files have changed since the load under way began, so that there will be another one in any case."""
        return self._began_s is not None and self._again

    def changed(self, now_s: float, *, patient: bool = False) -> None:
        """Files changed. `patient`: of a kind that is only worth loading once all is quiet."""
        self._changed_s = now_s
        self._patient = self._patient or patient
        if self._began_s is not None:
            self._again = True
        else:
            self._due_s = now_s + self._quiet_s if self._patient else now_s

    def begin(self, now_s: float) -> None:
        """A load begins. There is never a second one under way."""
        assert self._began_s is None
        self._began_s, self._due_s, self._again = now_s, None, False

    def ended(self, now_s: float, found: Found) -> Do:
        """The load has ended."""
        assert self._began_s is not None
        quiet_s = self._changed_s + self._quiet_s
        doubtful = found in {Found.BROKEN, Found.DRASTIC} and self._began_s < quiet_s
        self._began_s = None
        if self._again or doubtful:
            self._patient = self._patient or doubtful
            self._due_s = max(now_s, quiet_s) if self._patient else now_s
            return Do.WAIT
        self._patient = False
        return _ACTS[found]

    def __repr__(self) -> str:
        state = "loading" if self._began_s is not None else "idle" if self._due_s is None else "about to load"
        return f"<Settling: {state}{', patiently' if self._patient else ''}>"
