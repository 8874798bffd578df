"""Retries, seen from outside: what of a group's progress waits for another attempt, where no runtime says so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from headrace.functions.names import retry_topic_of
from headrace.runtime.ports import Lag
from headrace.runtime.progress import BadProgress, Progress
from headrace.runtime.tiers import TIERS


class Retries(NamedTuple):
    """How many events wait, and when the first of them is due (ms since 1970); None where only its record says it."""

    events: int = 0
    due_ms: int | None = None

    @classmethod
    def seen(cls, app: str, function: str, lags: Iterable[Lag], now_ms: int) -> Retries:
        """Those of a function, by the `lags` of its group: in their partitions, and in its retry topics.

        An event whose time has come waits no more where it lies in its partition.
        """
        aside = {retry_topic_of(app, function, tier.name) for tier in TIERS}
        dues: list[int] = []
        events = 0
        for lag in lags:
            if lag.partition[0] in aside:
                events += max(0, lag.end - max(lag.committed, lag.start))
            else:
                dues += [due for due in _dues(lag) if due > now_ms]
        return cls(events + len(dues), min(dues, default=None))

    def __str__(self) -> str:
        due = self.due_ms
        time = "" if due is None else f", the next at {datetime.fromtimestamp(due / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.events} wait for another attempt{time}"


def _dues(lag: Lag) -> list[int]:
    try:
        ledger = Progress.restore(lag.committed, lag.progress).ledger
    except BadProgress:
        return []
    return [charge.due_ms for offset, charge in ledger.items() if offset >= lag.start]
