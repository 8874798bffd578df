"""The event a handler is looking at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Where an event came from and what it says of itself.

    `(source, id)` names it for good: use `id` as the idempotency key of side effects. `type` is None for a record
    without one. `key` is the record's key as text; bytes that are not UTF-8 are kept as surrogate escapes, so that
    emitting with this key writes the same bytes. `headers` are all of the record's, in order, duplicates kept.
    """

    id: str
    source: str
    type: str | None
    time: datetime
    subject: str | None
    topic: str
    partition: int
    offset: int
    key: str | None
    headers: Headers

    def header(self, name: str) -> str | None:
        """The last header of that name as text, or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value.decode("utf-8", "surrogateescape")
        return None
