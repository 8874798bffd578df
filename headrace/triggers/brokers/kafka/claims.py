"""Who of this store owns what: each assignment of a partition is a claim, known by its epoch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from headrace.runtime.ports import Partition, Settlement
from headrace.triggers.brokers.kafka.committer import Committer
from headrace.triggers.brokers.kafka.link import Link
from headrace.triggers.brokers.kafka.transactor import Transactor


class Claimant(Protocol):
    """The member that has a claim: its `link` asks the group whether it still does, its `committer` commits for it."""

    group: str
    link: Link
    committer: Committer


@dataclass(eq=False, slots=True)
class Claim:
    """One assignment of a partition. `membership` is the generation and member id that its commits are made as.

    `transactor` settles it in transactions, if the group has them. Settlements take their `turn` one after another.
    `published` is one whose appends are acknowledged and whose commit is not: settled again, it is not published again.
    """

    member: Claimant
    partition: Partition
    epoch: int
    membership: tuple[int, str]
    transactor: Transactor | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    published: Settlement | None = None
    is_over: bool = False


class Claims:
    """The claims of a store that are not over."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, Partition], list[Claim]] = {}
        self._last_epoch = 0

    def __repr__(self) -> str:
        return f"<Claims on {len(self._claims)} partitions>"

    def make(
        self, member: Claimant, partition: Partition, membership: tuple[int, str], transactor: Transactor | None
    ) -> Claim:
        """A new claim. Epochs grow from owner to owner, also between hosts, as far as their clocks agree.

        They are names: what fences an owner is the group's generation.
        """
        self._last_epoch = max(self._last_epoch + 1, time.time_ns() // 1000)
        claim = Claim(member, partition, self._last_epoch, membership, transactor)
        self._claims.setdefault((member.group, partition), []).append(claim)
        return claim

    def drop(self, claim: Claim) -> None:
        """A claim is over."""
        claim.is_over = True
        if claim.transactor is not None:
            claim.transactor.give_up()
        of_partition = self._claims.get((claim.member.group, claim.partition), [])
        if claim in of_partition:
            of_partition.remove(claim)
        if not of_partition:
            self._claims.pop((claim.member.group, claim.partition), None)

    def find(self, settlement: Settlement) -> Claim | None:
        """The claim a settlement is made under."""
        claims = self._claims.get((settlement.group, settlement.partition), [])
        return next((claim for claim in claims if claim.epoch == settlement.epoch), None)

    def epoch(self, settlement: Settlement) -> int:
        """The present epoch of its partition here; 0 if this store has no claim on it."""
        return max((claim.epoch for claim in self._claims.get((settlement.group, settlement.partition), [])), default=0)
