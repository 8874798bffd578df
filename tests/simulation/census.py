"""The census: how often each thing that a simulation is for has happened.

Promises are worth as much as what they were kept in; so what happens is counted, and a name that is never counted over
the seeds of the gate fails it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from headrace.sandbox.outcome import Done, Failed, Outcome, Postponed, Rejected, Skipped, TimedOut

NAMES = (
    # what comes in
    "order key",
    "order partition",
    "order none",
    "event without a key",
    "null value skipped",
    "markers in the log",
    "compacted before it was handled",
    "compacted while it was handled",
    # how attempts end
    "done without an emit",
    "done with emits",
    "skipped",
    "rejected",
    "not retried by any rule",
    "failed under the only rule",
    "failed under the first of several rules",
    "failed under a later rule",
    "failed under a rule that is not there",
    "postponed by RetryAfter",
    "timed out",
    "too old for another attempt",
    "set aside",
    "discarded",
    # workers
    "crash charged",
    "suspects after a crash",
    "ran alone as a suspect",
    "worker killed for an event past its time",
    "worker died with the zygote",
    "worker could not be started",
    "reload",
    "reload refused",
    "lane moved to a new generation",
    "recalled by a reload",
    "result of a new generation",
    "rate reached",
    # batches
    "batch of several",
    "batch divided",
    "batch divided by a death",
    "passed over in a batch",
    # intake
    "intake stopped: enough is held",
    "intake stopped: full",
    "intake went on",
    "waiting-full: too many wait",
    "waiting-full: progress near its limit",
    "waiting-full: no room in progress",
    "progress written near its limit",
    "delivered a second time",
    "queued work kept over a rebalance",
    # retry topics
    "deferred to 1s",
    "deferred to 5s",
    "deferred to 30s",
    "deferred to 2m",
    "deferred to 10m",
    "deferred to 1h",
    "hopped",
    "deferred a second time: another owner",
    "deferred a second time: repeated settlement",
    "retry topic made",
    "retry topic refused",
    "retry topic followed",
    "retry topic taken over",
    "started from a retry topic",
    "started from a retry topic in another order",
    "ran alone across topics",
    "dead-lettered from a retry topic",
    # owners and the log
    "owner killed",
    "owner killed at append",
    "owner killed at settle",
    "owner killed at progress",
    "owner killed for good",
    "owner frozen",
    "owner stopped in order",
    "owner put out while it was frozen",
    "start in a stale session",
    "event run again without a charge",
    "charged with the death of its owner",
    "acknowledgement lost",
    "write refused",
)

RARE = frozenset({"start in a stale session"})  # between being thawed and being told, there is hardly time for one
_KNOWN = frozenset(NAMES)
_ENDS: dict[type, str] = {
    Rejected: "rejected",
    Postponed: "postponed by RetryAfter",
    TimedOut: "timed out",
}


class Census:
    """Counts occurrences of `NAMES`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def saw(self, name: str, times: int = 1) -> None:
        """It happened."""
        assert name in _KNOWN, name
        self.counts[name] += times

    def __repr__(self) -> str:
        return f"<Census: {len(self.counts)} of {len(NAMES)} things seen>"


def name_of(outcome: Outcome | None, rules: int) -> str:
    """What the end of an attempt is counted as."""
    match outcome:
        case Failed(_, rule):
            return _failed(rule, rules)
        case Done() | None:
            return "done with emits" if outcome is not None else "done without an emit"
        case Skipped(reason):
            return "null value skipped" if reason == "null" else "skipped"
        case _:
            return _ENDS[type(outcome)]


def _failed(rule: int | None, rules: int) -> str:
    if rule is None:
        return "not retried by any rule"
    if rule >= rules:
        return "failed under a rule that is not there"
    if rules == 1:
        return "failed under the only rule"
    return "failed under a later rule" if rule else "failed under the first of several rules"


def missing(counts: Mapping[str, int]) -> list[str]:
    """What should have happened and never did."""
    return [name for name in NAMES if name not in RARE and not counts.get(name)]


def told(counts: Mapping[str, int]) -> str:
    """A line for each name."""
    return "\n".join(f"  {counts.get(name, 0):>9,}  {name}" for name in NAMES)
