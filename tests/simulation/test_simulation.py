"""Every promise is kept, whatever goes wrong: a million steps of it. See `simulation` for what a step is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from simulation.census import Census, missing, told
from simulation.defects import DEFECTS
from simulation.scenario import Scenario
from simulation.world import run

STEPS = 1_000_000


def test_a_million_steps_break_no_promise_and_everything_happens_in_them() -> None:
    steps = seed = 0
    census: Counter[str] = Counter()
    while steps < STEPS:
        ended = run(seed)
        assert ended.broken is None, str(ended)
        steps, seed = steps + ended.steps, seed + 1
        census.update(ended.census)
    print(f"{steps:,} steps in {seed:,} seeds, in which were seen:\n{told(census)}")
    assert missing(census) == []


@pytest.mark.parametrize("seed", [3, 20, 747])
def test_a_seed_replays_exactly_in_another_process_too(seed: int) -> None:
    first, second = run(seed), run(seed)
    assert (first.digest, first.steps, first.trace) == (second.digest, second.steps, second.trace)
    code = f"from simulation.world import run; print(run({seed}).digest)"
    folder = str(Path(__file__).parent.parent)
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path]), "PYTHONHASHSEED": hash_seed}
        other = subprocess.run(
            [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert other.stdout.strip() == first.digest


def test_seeds_differ() -> None:
    assert len({run(seed).digest for seed in range(10)}) == 10


def test_scenarios_are_of_every_kind() -> None:
    scenarios = [Scenario.draw(Random(seed)) for seed in range(300)]
    assert {scenario.transactional for scenario in scenarios} == {True, False}
    assert {scenario.runtimes for scenario in scenarios} == {1, 2, 3}
    assert {scenario.limits.progress is None for scenario in scenarios} == {True, False}
    assert {scenario.detour.later_order for scenario in scenarios if scenario.detour} == {None, "key", "partition"}
    assert len({scenario.detour.most_s for scenario in scenarios}) == 4
    assert {len(spec.retry) for scenario in scenarios for spec in scenario.functions} == {1, 2, 3}


def test_a_thing_that_was_not_foreseen_cannot_be_counted() -> None:
    with pytest.raises(AssertionError, match="an unforeseen thing"):
        Census().saw("an unforeseen thing")


def test_a_broken_promise_names_the_seed_the_step_the_promise_and_how_to_replay_it() -> None:
    with DEFECTS["NotRun counted"]():
        ended = next(ended for seed in range(100) if (ended := run(seed)).broken is not None)
    told = str(ended).splitlines()
    assert told[0] == f"seed {ended.seed}, step {ended.steps}: {ended.broken}"
    assert 10 < len(ended.trace) <= 40
    assert told[-1].strip() == f"replay: make simulate SEEDS={ended.seed}"
