"""What may go wrong, and where: a client of the memory broker asks its `Faults` at every step it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from headrace.runtime.ports import Partition

Action = Literal["append", "settle", "progress", "fetch", "read", "ensure", "alter", "delete"]


class Crash(BaseException):
    """The client's process is gone. Faults raise it to kill the client; every call of a killed client raises it.

    No `Exception`: code of the process that died must not be able to handle it.
    """


class Step(NamedTuple):
    """What a client is about to do, or did. Nothing else happens to the log between two steps.

    `append`: records become durable; `group` and `partition` are set if for a settlement of an at-least-once disk,
    whose `progress` is a step of its own. `settle`: a whole settlement of a transactional disk. `fetch`: a poll
    (`partition` None), or what it takes of one partition. `read`, `ensure`, `alter`, `delete`: what `ports.Reader` and
    `ports.Admin` do.
    `records` is the number of records written.
    """

    client: str
    action: Action
    group: str = ""
    partition: Partition | None = None
    records: int = 0


class Faults:
    """Nothing goes wrong. Override what shall: each method is called synchronously and decides for that step alone.

    For a simulation that replays, an answer must depend on nothing but a seed and the calls so far.
    """

    def before(self, step: Step) -> None:
        """Before a step is done. Raise `BrokerUnavailable` to have it fail undone, `Crash` to kill the client here."""

    def after(self, step: Step) -> None:
        """After a write became durable, before its caller learns of it. Not called for reads.

        Raise `BrokerUnavailable` to lose the acknowledgement, `Crash` to kill the client here.
        """

    def delay(self, step: Step) -> float:  # noqa: ARG002
        """Seconds of the client's clock by which the answer to a write, good or bad, comes late."""
        return 0.0

    def take(self, step: Step, available: int) -> int:  # noqa: ARG002
        """How many of the `available` records of a partition a poll gets, at least 1."""
        return available

    def rewind(self, step: Step) -> int:  # noqa: ARG002
        """How many offsets before its position a poll fetches a partition again: more than `ports.Member` allows."""
        return 0

    def rebalance(self, step: Step) -> Mapping[Partition, str] | None:  # noqa: ARG002
        """Start a rebalance of `step.group` now; these partitions go to the members with these ids.

        An empty mapping rebalances without wishes. None: no rebalance. Asked at steps that have a group.
        """
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
