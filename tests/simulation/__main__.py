"""`python -m simulation SEEDS`: run seeds, say how each ended; exit 1 if a promise was broken."""

from __future__ import annotations

import sys
import time
from collections import Counter

from simulation.census import told
from simulation.world import run

MOST_TOLD = 3


def seeds_of(text: str) -> list[int]:
    """`7`, `0-99`, or both with commas between."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def main(arguments: list[str]) -> int:
    """Run the seeds."""
    seeds = seeds_of(arguments[0] if arguments else "0-99")
    broken = steps = events = 0
    census: Counter[str] = Counter()
    began = time.process_time()
    for seed in seeds:
        verdict = run(seed)
        steps, events = steps + verdict.steps, events + verdict.events
        census.update(verdict.census)
        if verdict.broken is not None or len(seeds) <= 10:
            print(verdict)
        if verdict.broken is not None:
            broken += 1
            if broken == MOST_TOLD:
                break
    spent = time.process_time() - began
    print(told(census))
    print(f"{steps:,} steps, {events:,} events, {spent:.1f} s of CPU; {broken} seeds broke a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
