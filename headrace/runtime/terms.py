"""The terms under which a shard works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.runtime.deadletter import Sender
from headrace.sandbox.manifest import FunctionSpec, RetryPolicy


@dataclass(frozen=True, slots=True)
class Terms:
    """What a shard must know of its function and its broker.

    `sender` is None where exhausted events are discarded. `progress_limit` is the broker's, in bytes.
    """

    group: str
    order: str
    retry: Sequence[RetryPolicy]
    sender: Sender | None
    watched: bool = False
    progress_limit: int | None = None

    @classmethod
    def of(
        cls, spec: FunctionSpec, group: str, sender: Sender | None, *, watched: bool, progress_limit: int | None
    ) -> Terms:
        """The terms of a declared function."""
        return cls(group, spec.order, spec.retry, sender, watched, progress_limit)
