"""What a seed draws aside: options of functions that most scenarios do not have.

They are drawn from the seed's state without moving it, so that whatever else a seed means is the same with and without.
"""

from __future__ import annotations

from random import Random

from headrace.sandbox.manifest import BatchPolicy


def draw_rate(random: Random) -> float | None:
    """A rate, or none as a rule."""
    own = _aside(random, 1)
    return own.choice([5.0, 50.0]) if own.random() < 0.1 else None


def draw_batch(random: Random) -> BatchPolicy | None:
    """A batch, or none as a rule."""
    own = _aside(random, 2)
    return BatchPolicy(own.choice([2, 3, 8]), own.choice([0.0, 0.05, 0.5])) if own.random() < 0.15 else None


def _aside(random: Random, number: int) -> Random:
    return Random(repr((number, random.getstate()[1][:4])))
