"""The outbox of a partition: what its next settlement appends, in the order decided."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.runtime.arrivals import Arrivals
from headrace.runtime.deadletter import Sender, dead_letter, fits, without_redrives
from headrace.runtime.ports import Append, Record
from headrace.runtime.retrytopic import Deferred, RetryTopics
from headrace.runtime.verdict import SetAside
from headrace.sandbox.outcome import Emitted


class Outbox:
    """What was decided of the events of one partition, as records to append. `arrivals` knows where they lay first."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._appends: list[Append] = []

    def take(self) -> list[Append]:
        """All that is in it; it is empty then."""
        appends, self._appends = self._appends, []
        return appends

    def publish(self, emits: Iterable[Emitted]) -> None:
        """What an event that succeeded emitted."""
        self._appends += [Append(e.topic, e.partition, e.timestamp, e.key, e.value, e.headers) for e in emits]

    def set_aside(self, record: Record, verdict: SetAside, sender: Sender | None, now_ms: int) -> None:
        """The dead letter of an event; none where there is no `sender`."""
        if sender is None:
            return
        letter = dead_letter(
            record,
            self._arrivals.origin(record.offset),
            verdict.failure,
            attempts=verdict.attempts,
            sender=sender,
            now_ms=now_ms,
            returned=not self._arrivals.direct,
        )
        self._appends.append(letter)

    def defer(
        self, record: Record, retries: RetryTopics, *, failures: int, due_ms: int, alone: bool, now_ms: int
    ) -> bool:
        """Have an event wait in a retry topic until `due_ms`; False if it is too large for one."""
        own = without_redrives(record) if self._arrivals.direct else record
        event = Deferred(own, self._arrivals.origin(record.offset), failures, due_ms, alone=alone)
        append = retries.defer(event, now_ms)
        if not fits(append, retries.max_bytes):
            return False
        self._appends.append(append)
        return True

    def pass_on(self, event: Deferred, retries: RetryTopics, now_ms: int) -> None:
        """Have an event of a retry topic wait on in another tier: it is as large as it was when it came here."""
        self._appends.append(retries.defer(event, now_ms))

    def __len__(self) -> int:
        """How many records are to be appended."""
        return len(self._appends)

    def __repr__(self) -> str:
        return f"<Outbox: {len(self)} records to append>"
