"""Flood: which of many lines are shown one by one, and which are only counted. A plain state machine.

Up to `limit` lines a second are shown. From the first second that has more, lines are counted, and a summary is told
each second, until a second has at most `limit` again. Of what is counted a few troubled ones are shown all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

SECOND = 1.0

T = TypeVar("T", bound=Hashable)


class Flood(Generic[T]):
    """`troubled` is how many lines of trouble are shown in a second in which lines are counted."""

    def __init__(self, limit: int = 50, troubled: int = 5) -> None:
        self._limit = limit
        self._troubled = troubled
        self._from_s = float("-inf")
        self._seen = 0
        self._trouble = 0
        self._counting = False
        self._counted: Counter[T] = Counter()

    def admit(self, kind: T, *, trouble: bool = False) -> bool:
        """Whether to show a line now; otherwise it is counted under its kind. Ask `summary` before."""
        self._seen += 1
        if self._seen > self._limit:
            self._counting = True
        if not self._counting:
            return True
        if trouble and self._trouble < self._troubled:
            self._trouble += 1
            return True
        self._counted[kind] += 1
        return False

    def summary(self, now_s: float) -> Mapping[T, int]:
        """What was counted, once its second is over; nothing before."""
        return self.end(now_s) if now_s - self._from_s >= SECOND else {}

    def end(self, now_s: float) -> Mapping[T, int]:
        """What was counted up to now. A new second begins."""
        counted, self._counted = self._counted, Counter()
        late = now_s - self._from_s >= 2 * SECOND
        self._counting = self._seen > self._limit and not late
        self._from_s, self._seen, self._trouble = now_s, 0, 0
        return counted

    @property
    def is_counting(self) -> bool:
        """Whether something was counted that no summary has told."""
        return bool(self._counted)

    def __repr__(self) -> str:
        return f"<Flood: {self._seen} in this second, {self._counted.total()} counted>"
