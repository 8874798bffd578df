"""A scenario: what a seed draws before anything happens."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from headrace.sandbox.manifest import FunctionSpec, Grants, RetryPolicy
from simulation.aside import draw_batch, draw_rate
from simulation.detour import Detour
from simulation.limits import Limits
from simulation.trouble import Plague

_ORDERED = ["key", "key", "key", "partition"]
_PATIENT = RetryPolicy(attempts=4, delay=5.0, factor=2.0, max_delay=20.0, jitter="full", max_age=None)
_STUBBORN = RetryPolicy(attempts=3, delay=20.0, factor=1.0, max_delay=20.0, jitter="none", max_age=None)
_GRANTS = Grants(256 << 20, None, "none", False, {}, [], [], False, 64 << 20, False)


@dataclass(frozen=True)
class Scenario:
    """What the seed drew. `sick`: most events fail a few times, of many keys at once, as they do when a
    dependency is down."""

    functions: list[FunctionSpec]
    topics: dict[str, int]  # with their partitions
    inputs: list[str]
    runtimes: int
    departs: bool  # one of the runtimes, for good
    transactional: bool
    watched: bool
    sick: bool
    detour: Detour
    limits: Limits
    events: int
    keys: int
    headers: bool
    nulls: float
    gaps: float
    every_s: float
    plague: Plague

    @classmethod
    def draw(cls, random: Random) -> Scenario:
        """A scenario."""
        rate, batch = draw_rate(random), draw_batch(random)
        sick = random.random() < 0.2
        inputs = [f"in{n}" for n in range(1 if sick else random.choice([1, 1, 2, 3]))]
        outputs = ["out0", "out1"]
        most = 2 if sick else 4
        topics = {name: random.randint(1, most) for name in inputs} | {name: random.randint(1, 2) for name in outputs}
        detour = Detour.draw(random)
        narrow = not detour and random.random() < (0.7 if sick else 0.1)
        orders = detour.orders or (_ORDERED if narrow else [*_ORDERED, "none"])
        functions = [_function(random, 0, inputs, outputs[: random.choice([1, 2])], orders, detour, sick=sick)]
        functions = [replace(one, rate=rate, batch=batch) for one in functions]
        if random.random() < 0.25:
            emits = ["out1"] if random.random() < 0.5 else []
            functions.append(_function(random, 1, ["out0"], emits, [*_ORDERED, *orders], detour))
        runtimes = random.choice([1, 1, 2, 3])
        return cls(
            functions,
            topics,
            inputs,
            runtimes,
            departs=runtimes > 1 and random.random() < 0.3,
            transactional=random.random() < 0.5,
            watched=random.random() < 0.3,
            sick=sick,
            detour=detour,
            limits=Limits.draw(random, narrow=narrow, aside=bool(detour)),
            events=100 if sick else random.choice([8, 20, 40, 80]),
            keys=200 if sick else random.choice([1, 3, 6]),
            headers=random.random() < 0.5,
            nulls=random.choice([0.0, 0.0, 0.05, 0.2]),
            gaps=random.choice([0.0, 0.0, 0.05, 0.2]),
            every_s=random.choice([0.0, 0.01, 0.1, 0.3, 0.6]),
            plague=Plague.draw(random, detour.pace),
        )

    @property
    def later_functions(self) -> list[FunctionSpec]:
        """The functions as they are deployed later: the first one may have another order."""
        first, *others = self.functions
        return [replace(first, order=self.detour.later_order or first.order), *others]


def most_attempts(spec: FunctionSpec) -> int:
    """More than this no event has, whatever its failures are."""
    return max(rule.attempts for rule in spec.retry)


def _function(
    random: Random,
    number: int,
    topics: list[str],
    emits: list[str],
    orders: list[str],
    detour: Detour,
    *,
    sick: bool = False,
) -> FunctionSpec:
    order = random.choice(orders)
    patient = _PATIENT if order == "partition" else random.choice([_PATIENT, _STUBBORN])  # one lane waits for each
    return FunctionSpec(
        name=f"f{number}",
        topics=topics,
        emits={topic: [] for topic in emits},
        types=[],
        file="functions.py",
        line=1,
        doc="",
        is_async=True,
        retry=[patient] if sick else [_rule(random, detour) for _ in range(random.choice([1, 1, 2, 3]))],
        timeout=random.choice([0.5, 1.0]),
        order=order,
        concurrency=4 if sick else random.choice([1, 1, 2, 4]),
        workers=random.choice([(0, 1), (1, 1), (0, 3), (2, 3)]),
        idle=random.choice([0.3, 5.0]) * detour.pace,
        unmatched="skip",
        guarantee="at-least-once",
        dead_letter=None,
        discard="not needed" if random.random() < 0.1 else None,
        max_hops=16,
        start=None,
        grants=_GRANTS,
        explicit=[],
        schema=None,
    )


def _rule(random: Random, detour: Detour) -> RetryPolicy:
    return RetryPolicy(
        attempts=random.choice([1, 2, 3, 4]),
        delay=random.choice(detour.delays_s),
        factor=random.choice([1.0, 2.0, 8.0] if detour else [1.0, 2.0]),
        max_delay=detour.most_s,
        jitter=random.choice(["full", "full", "none"]),
        max_age=random.choice([None, None, None, 0.3, 3.0]),
    )
