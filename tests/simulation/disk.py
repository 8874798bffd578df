"""A disk that tells the witness what is about to be written and who owns what, and whose records can go missing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from headrace.runtime.ports import Assigned, Partition, Settlement
from headrace.triggers.brokers.memory import Disk
from simulation.witness import Witness


class WitnessedDisk(Disk):
    """The memory broker's disk, under observation."""

    witness: Witness

    def check(self, settlement: Settlement, members: Any) -> None:
        """See `Disk.check`."""
        super().check(settlement, members)
        self.witness.settlements.offered(settlement)

    def claim(self, group: str, partition: Partition, member: str) -> Assigned:
        """See `Disk.claim`."""
        assigned = super().claim(group, partition, member)
        self.witness.sessions.claimed(group, partition, member, assigned.epoch)
        return assigned

    def mark(self, partition: Partition, offsets: int) -> None:
        """Use up offsets, as the markers of somebody's transactions do."""
        self.journal(partition).skip(offsets)
        self._written()

    def compact(self, partition: Partition, offsets: Collection[int]) -> None:
        """Remove records: nobody who has not read them yet ever will."""
        self.journal(partition).drop(offsets)
        self.witness.compacted(partition, offsets)
        self._written()
