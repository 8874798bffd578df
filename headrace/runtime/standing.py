"""Standings: how each function of an app stands, put together from what its log and its runtime say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.functions.names import group_of
from headrace.runtime.bulletin import FunctionReport, Report
from headrace.runtime.ports import Lag
from headrace.runtime.progress import BadProgress, Progress
from headrace.runtime.retries import Retries
from headrace.runtime.state import State

_SILENT_MS = 10_000
# Of what several runtimes say of a function, the first of these is its state.
_TELLING = [State.PAUSED, State.STOPPED, State.WAITING_FULL, State.RETRYING, State.RUNNING, State.STARTING, State.IDLE]

_Said = list[tuple[Report, FunctionReport]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a function stands. What only its runtime knows (events in workers, workers, since when) is None without it.

    `waiting` is what waits for another attempt; where no runtime says it, what the log shows of that.

    `lag` is how many events are not done; None for a function that has no progress yet. `served_by` are its runtimes.
    """

    function: str
    state: str
    reason: str
    lag: int | None
    in_flight: int | None
    waiting: int | None
    workers: int | None
    dead_letters: int
    since: str | None
    served_by: Sequence[str]


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of an app at `now_ms`: `served` by group, `dead_letters` by function, the `reports` there are.

    `paused` says why a function is to stand still, by name.
    """

    app: str
    now_ms: int
    lags: Sequence[Lag]
    served: Mapping[str, Sequence[str]]
    dead_letters: Mapping[str, int]
    reports: Sequence[Report]
    paused: Mapping[str, str]

    def standing(self, function: str) -> Standing:
        """How this function stands."""
        group = group_of(self.app, function)
        members = self.served.get(group, ())
        lag = self._lag(group)
        said = self._said(function, members)
        retries = Retries() if said or not members else self._retries(function, group)
        state, reason = self._state(function, members, said, lag, retries)
        since_ms = min((one.since_ms for _, one in said if one.state == state.value), default=None)
        return Standing(
            function=function,
            state=state.value,
            reason=reason,
            lag=lag,
            in_flight=sum(one.in_flight for _, one in said) if said else None,
            waiting=sum(one.waiting for _, one in said) if said else retries.events if members else None,
            workers=sum(one.workers for _, one in said) if said else None,
            dead_letters=self.dead_letters.get(function, 0),
            since=datetime.fromtimestamp(since_ms / 1000, UTC).isoformat() if since_ms is not None else None,
            served_by=members,
        )

    def _lag(self, group: str) -> int | None:
        lags = [lag_of(lag) for lag in self.lags if lag.group == group]
        return sum(lags) if lags else None

    def _retries(self, function: str, group: str) -> Retries:
        return Retries.seen(self.app, function, [lag for lag in self.lags if lag.group == group], self.now_ms)

    def _said(self, function: str, members: Sequence[str]) -> _Said:
        """What those say that serve it, not who is gone."""
        present = [report for report in self.reports if report.runtime in members]
        return [(report, one) for report in present for one in report.functions if one.function == function]

    def _state(
        self, function: str, members: Sequence[str], said: _Said, lag: int | None, retries: Retries
    ) -> tuple[State, str]:
        if not members:
            why = self.paused.get(function)
            return State.STOPPED, "no runtime serves it" + (f"; {why}" if why else "")
        if said:
            worst = min((State(one.state) for _, one in said), key=_TELLING.index)
            reasons = [self._reason(report, one, alone=len(said) == 1) for report, one in said]
            return worst, "; ".join(reason for reason in dict.fromkeys(reasons) if reason)
        if (why := self.paused.get(function)) is not None:
            return State.PAUSED, why
        # Its runtimes are elsewhere, and what they do can be told only from how far the group is.
        server = f"served by {', '.join(members)}"
        if not retries.events:
            return (State.RUNNING if lag else State.IDLE), server
        busy = lag is not None and lag > retries.events
        return (State.RUNNING if busy else State.RETRYING), f"{retries}; {server}"

    def _reason(self, report: Report, one: FunctionReport, *, alone: bool) -> str:
        reason = one.reason if alone or not one.reason else f"{report.runtime}: {one.reason}"
        silent_ms = self.now_ms - report.at_ms
        if silent_ms <= _SILENT_MS:
            return reason
        late = f"{report.runtime} has said nothing for {silent_ms // 1000} s: it hangs, or was stopped"
        return f"{reason}; {late}" if reason else late


def lag_of(lag: Lag) -> int:
    """How many events of a partition are not done. What retention took is none of them."""
    try:
        progress = Progress.restore(lag.committed, lag.progress)
    except BadProgress:
        progress = Progress(lag.committed)
    if lag.start > lag.committed:
        progress.deliver([], lag.start)  # what lies before is not there any more
    return max(0, lag.end - progress.watermark - progress.done_beyond)
