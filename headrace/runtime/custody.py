"""Custody: who serves a partition, how its owners died, and when that makes us careful.

An owner writes that it is alive when it begins and that it has left when it leaves; finding the first without the
second means it died uncleanly. After two such deaths without the watermark moving, some event may be killing the
runtime itself: from then on events are run one at a time, each start written down first, until the watermark moves. A
death with a start written down is charged to that event (rule R2, `runtime-died`).
"""

from __future__ import annotations

from typing import NamedTuple

CAREFUL_AFTER = 2


class Custody(NamedTuple):
    """What is written with the progress. `mark` is the watermark at the last unclean death."""

    alive: bool = False
    deaths: int = 0
    mark: int = 0
    started: int | None = None

    def taken_over(self, watermark: int) -> Custody:
        """The custody of a new owner that finds this one."""
        if not self.alive:
            return Custody(alive=True, mark=watermark)
        deaths = self.deaths + 1 if self.mark == watermark else 1
        return Custody(alive=True, deaths=deaths, mark=watermark)

    @property
    def died_at(self) -> int | None:
        """The offset whose start was written down and whose end was not, if its owner died."""
        return self.started if self.alive else None

    def is_careful(self, watermark: int) -> bool:
        """Whether events are to be run one at a time, each start durable first."""
        return self.deaths >= CAREFUL_AFTER and watermark == self.mark
