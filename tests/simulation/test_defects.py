"""The simulation finds defects: each of ten, planted in the shipped code, within 2,000 seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.defects import DEFECTS, find

# What a find must say, so that a defect is found for what it is.
PROMISES = {
    "off by one at restart": ("nothing lost", "progress"),
    "stale epoch accepted": ("epoch",),
    "map dropped": ("progress",),
    "progress committed before publish": ("nothing lost",),
    "attempts kept in memory only": ("attempts",),
    "retry before the ledger is durable": ("attempts",),
    "key moved to another worker while in flight": ("order",),
    "NotRun counted": ("attempts",),
    "outcomes of a lane settled out of order": ("order",),
    "crash charged to a neighbour": ("attempts", "order"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str, record_property: Callable[[str, object], None]) -> None:
    found = find(DEFECTS[defect])
    assert found is not None, f"no seed found: {defect}"
    print(f"{defect}: found by seed {found.seed} at step {found.steps}: {found.broken}")
    record_property("seed", found.seed)
    assert found.broken is not None
    assert found.broken.split(":")[0] in PROMISES[defect], found
