"""Who owns a partition of a group."""

from __future__ import annotations

from typing import NamedTuple

from headrace.runtime.ports import Partition

Claim = tuple[str, Partition]
"""A group's name and a partition."""


class Owner(NamedTuple):
    """The member that owns a partition, None if none does, and since which epoch."""

    member: str | None
    epoch: int


NOBODY = Owner(None, 0)
"""Of a partition that nobody has owned yet: epochs begin at 1."""
