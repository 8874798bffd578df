"""Afterglow: what this store has committed in transactions and the cluster may not show yet.

Kafka answers a commit when it is decided, before its markers are written; for some milliseconds readers of committed
records, and whoever asks for a group's offsets, see what was before. Questions whose answer must not lag behind what
this store did itself ask again for that long.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from headrace.runtime.ports import Bounds, Partition
from headrace.triggers.brokers.kafka.mark import Mark

_LASTS_S = 10.0
"""After this it is not waited for: the topic was deleted, or somebody else holds a transaction open before ours."""

K = TypeVar("K")


class _Expected(NamedTuple):
    offset: int
    until: float


class Afterglow:
    """The ends and the offsets that are to be seen soon."""

    def __init__(self) -> None:
        self._ends: dict[Partition, _Expected] = {}
        self._marks: dict[tuple[str, Partition], _Expected] = {}

    def committed(self, group: str, partition: Partition, mark: Mark, ends: Mapping[Partition, int]) -> None:
        """A transaction was committed: `mark` of the group, and records before each of `ends`."""
        until = time.monotonic() + _LASTS_S
        self._marks[group, partition] = _Expected(mark.watermark, until)
        for one, end in ends.items():
            self._ends[one] = _Expected(max(end, self._ends[one].offset if one in self._ends else 0), until)

    def hides_ends(self, bounds: Mapping[Partition, Bounds]) -> bool:
        """Whether these are older than what was committed."""
        return _is_behind(self._ends, ((one, bound.end) for one, bound in bounds.items()))

    def hides_marks(self, group: str, marks: Mapping[Partition, Mark]) -> bool:
        """Whether these are."""
        due = [partition for name, partition in self._marks if name == group]
        seen = ((one, marks[one].watermark if one in marks else -1) for one in due)
        return _is_behind(self._marks, (((group, one), offset) for one, offset in seen))

    def __repr__(self) -> str:
        return f"<Afterglow: {len(self._ends)} ends and {len(self._marks)} offsets to be seen>"


def _is_behind(expected: dict[K, _Expected], seen: Iterable[tuple[K, int]]) -> bool:
    now = time.monotonic()
    behind = False
    for key, offset in seen:
        if (one := expected.get(key)) is None:
            continue
        if offset >= one.offset or now > one.until:
            del expected[key]
        else:
            behind = True
    return behind
