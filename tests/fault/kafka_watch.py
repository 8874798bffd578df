"""What a reader of committed records sees, and waiting for it, or for anything else."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 60.0
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as a reader of committed records saw it. `data` is its value, as JSON if it is some."""

    topic: str
    partition: int
    offset: int
    key: str | None
    data: Any
    headers: Mapping[str, str] = field(repr=False)

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers.get("ce_id", f"{self.topic}/{self.partition}/{self.offset}")

    @classmethod
    def of(cls, record: Any) -> Seen:
        """One of aiokafka's."""
        try:
            data = json.loads(record.value)
        except (TypeError, ValueError):
            data = record.value
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        key = None if record.key is None else record.key.decode(errors="replace")
        return cls(record.topic, record.partition, record.offset, key, data, headers)


class Watch:
    """What a reader of committed records has seen so far."""

    def __init__(self, topics: set[str]) -> None:
        self.task: Any = None
        self._topics = topics
        self._seen: list[Seen] = []
        self._arrived = threading.Condition()

    def __repr__(self) -> str:
        return f"<Watch on {', '.join(sorted(self._topics))}: {len(self._seen)} seen>"

    def add(self, records: Iterable[Seen]) -> None:
        """These came."""
        with self._arrived:
            self._seen += records
            self._arrived.notify_all()

    def of(self, topic: str | None = None) -> list[Seen]:
        """What came, of one topic; each partition in order."""
        with self._arrived:
            return [one for one in self._seen if topic in {None, one.topic}]

    def wait(self, enough: Callable[[list[Seen]], bool], what: str, patience_s: float = PATIENCE_S) -> list[Seen]:
        """Wait until what came is enough; it."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: self.task.done() or enough(self._seen), patience_s)
            if self.task.done():
                self.task.result()
            assert came, f"not within {patience_s:.0f} s: {what}; seen are {len(self._seen)}"
            return list(self._seen)


def wait_for(
    condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S, every_s: float = _LOOK_S
) -> None:
    """Look until it holds."""
    never, until = threading.Event(), time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, f"not within {patience_s:.0f} s: {what}"
        never.wait(every_s)


def by_key(events: Iterable[Seen]) -> dict[str | None, list[Seen]]:
    """The events of each key as a reader sees them who drops repeated ids."""
    found: dict[str | None, list[Seen]] = defaultdict(list)
    known: set[str] = set()
    for event in events:
        if event.id not in known:
            known.add(event.id)
            found[event.key].append(event)
    return found
