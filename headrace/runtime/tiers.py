"""Tiers: the fixed delays of retry topics.

All functions share them, so that what waits in one retry topic becomes due nearly in the order in which it was written.
"""

from __future__ import annotations

from typing import NamedTuple


class Tier(NamedTuple):
    """A delay of `ms` milliseconds; its retry topics end in `name`."""

    name: str
    ms: int


TIERS = (
    Tier("1s", 1_000),
    Tier("5s", 5_000),
    Tier("30s", 30_000),
    Tier("2m", 120_000),
    Tier("10m", 600_000),
    Tier("1h", 3_600_000),
)

REDRIVE = Tier("redrive", 0)
"""Where dead letters go that are handled once more: no delay, and none of those that failed events wait in."""


def tier_for(delay_ms: int) -> Tier:
    """The smallest tier that holds an event for `delay_ms`; the last one, to be gone through again, if none does."""
    return next((tier for tier in TIERS if tier.ms >= delay_ms), TIERS[-1])
