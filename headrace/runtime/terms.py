"""The terms under which a shard works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.runtime.deadletter import Sender
from headrace.runtime.ports import Features
from headrace.runtime.retrytopic import RetryTopics
from headrace.sandbox.manifest import BatchPolicy, FunctionSpec, RetryPolicy


@dataclass(frozen=True, slots=True)
class Terms:
    """What a shard must know of its function and its broker.

    `sender` is None where exhausted events are discarded. `progress_limit` is the broker's, in bytes. `aside`: what is
    tried again waits in one of the topics of `retries`, not in its partition. `exact`: nothing may be repeated, so
    progress that cannot be read stops its partition. `batch`: events are handed out in batches. `code` is the
    fingerprint of the code that runs under these terms.
    """

    group: str
    order: str
    retry: Sequence[RetryPolicy]
    sender: Sender | None
    watched: bool = False
    progress_limit: int | None = None
    retries: RetryTopics | None = None
    aside: bool = False
    exact: bool = False
    batch: BatchPolicy | None = None
    code: str = ""

    @classmethod
    def of(
        cls,
        spec: FunctionSpec,
        group: str,
        *,
        sender: Sender | None,
        retries: RetryTopics,
        features: Features,
        watched: bool,
        code: str,
    ) -> Terms:
        """The terms of a declared function on a broker with these features.

        An event that waits in place takes room in its partition's progress. Where that is limited, those of a function
        without order wait aside; the others must not be passed by, and wait in place everywhere.
        """
        limit = features.progress_limit
        aside = spec.order == "none" and limit is not None
        exact = spec.guarantee == "effectively-once"
        return cls(group, spec.order, spec.retry, sender, watched, limit, retries, aside, exact, spec.batch, code)
