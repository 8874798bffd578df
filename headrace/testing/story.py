"""The story of an app, for people who look for what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.testing.views import Attempt
from headrace.triggers.brokers.memory import Disk

_MOST_LINES = 200


def told(attempts: Sequence[Attempt], disk: Disk) -> str:
    """Each attempt in a line, with the stack of what failed, then how many events each topic has."""
    return "\n".join(_lines(attempts, disk))


def _lines(attempts: Sequence[Attempt], disk: Disk) -> Iterator[str]:
    if len(attempts) > _MOST_LINES:
        yield f"… {len(attempts) - _MOST_LINES} attempts before these"
    for attempt in attempts[-_MOST_LINES:]:
        yield str(attempt)
        for log in attempt.logs:
            fields = " ".join(f"{name}={value!r}" for name, value in log.items() if name not in _OWN)
            yield f"{'':13}{log.get('log_level')}: {log.get('event')} {fields}".rstrip()
        for line in attempt.stack.splitlines():
            yield f"{'':13}{line}"
    if not attempts:
        yield "no event was handled"
    counts = {name: sum(journal.end for journal in topic.journals) for name, topic in disk.topics.items()}
    filled = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    yield f"topics: {filled or 'all empty'}"
    if disk.delayed:
        yield f"{len(disk.delayed)} events wait for their time"


_OWN = {"event", "log_level", "function", "event_id"}
