"""The simulation finds what is planted in the shipped code, defects, misreadings and byways, within 2,000 seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.byways import BYWAYS
from simulation.defects import DEFECTS, find
from simulation.divisions import DIVISIONS
from simulation.misreadings import MISREADINGS

PLANTS = {**DEFECTS, **MISREADINGS, **BYWAYS, **DIVISIONS}

# What a find must say, so that a defect is found for what it is.
PROMISES = {
    "off by one at restart": ("nothing lost", "progress"),
    "stale epoch accepted": ("epoch",),
    "map dropped": ("progress", "attempts"),  # the ledger goes with it
    "progress committed before publish": ("nothing lost",),
    "attempts kept in memory only": ("attempts",),
    "retry before the ledger is durable": ("attempts",),
    "key moved to another worker while in flight": ("order",),
    "NotRun counted": ("attempts",),
    "outcomes of a lane settled out of order": ("order",),
    "crash charged to a neighbour": ("attempts", "order"),
    "another rule applied": ("attempts", "order", "nothing lost"),
    "age forgotten": ("attempts", "order"),
    "postponed for half the time": ("attempts",),
    "generation dropped": ("order",),
    "gap not passed": ("nothing lost",),
    "limit never lifted": ("nothing lost",),
    "limit not kept": ("bounds",),
    "rate not kept": ("rate",),
    "leftover cut": ("order", "nothing lost"),
    "hop counted as an attempt": ("attempts",),
    "delivered early": ("attempts",),
    "origin lost": ("identity",),
    "deferred without ending": ("progress",),
    "lost on a hop": ("nothing lost",),
    "attempts begin anew in each topic": ("attempts",),
    "crash forgotten in a topic": ("attempts",),
    "our headers handed on": ("identity",),
    "tier too short": ("attempts",),
    "topic not followed": ("nothing lost",),
    "whole batch charged": ("attempts",),
    "failed event not set apart": ("attempts",),
}


@pytest.mark.parametrize("defect", PLANTS)
def test_a_planted_defect_is_found(defect: str, record_property: Callable[[str, object], None]) -> None:
    found = find(PLANTS[defect])
    assert found is not None, f"no seed found: {defect}"
    print(f"{defect}: found by seed {found.seed} at step {found.steps}: {found.broken}")
    record_property("seed", found.seed)
    assert found.broken is not None
    assert found.broken.split(":")[0] in PROMISES[defect], found
