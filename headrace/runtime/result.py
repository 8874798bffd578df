"""The result of an attempt, as observers see it."""

from __future__ import annotations

import msgspec

from headrace.runtime.ports import Partition, Record
from headrace.runtime.verdict import Verdict
from headrace.sandbox.outcome import Outcome


class Result(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended and what follows, for observers. `code` is the fingerprint of what ran.

    `spent_ns` is how long the handler took, decoding included; 0 where that is not known: after a crash, or where
    nobody watches each event. Events of a batch share its time.
    """

    partition: Partition
    record: Record
    attempt: int
    outcome: Outcome
    verdict: Verdict
    generation: int = 0
    code: str = ""
    spent_ns: int = 0
