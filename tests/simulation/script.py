"""What a handler does with an event: drawn from the seed, and a function of the event and its attempt only.

So an event that is handled again, by whomever and after whatever, does the same, and what it must end as is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Origin
from simulation.scenario import most_attempts

FOREVER = 1 << 30
NO_SUCH_RULE = 99

# kind: how often it occurs
_KINDS = {
    "done": 60,
    "skip": 4,
    "reject": 4,
    "fail": 12,
    "hopeless": 3,
    "postpone": 5,
    "timeout": 4,
    "crash": 5,
    "hang": 2,
}
_SICK = {**_KINDS, "done": 5, "fail": 80}


@dataclass(frozen=True)
class Script:
    """One event's behaviour: `kind` for attempts 1 to `times`, from then on "done"; for `seconds` each.

    A failure is one under rule `rule`, and under the next one at every other attempt; a postponement is for `later_s`.
    """

    kind: str
    times: int
    seconds: float
    later_s: float
    rule: int
    emits: tuple[str, ...]

    def at(self, attempt: int) -> str:
        """What it does at this attempt."""
        return self.kind if attempt <= self.times else "done"

    def rule_at(self, attempt: int, rules: int) -> int:
        """The rule that its failure at this attempt is under."""
        return self.rule if self.rule == NO_SUCH_RULE else (self.rule + attempt // 2) % rules


def script_of(seed: int, spec: FunctionSpec, at: Origin, *, sick: bool, later_s: Sequence[float]) -> Script:
    """The script of an event for a function, wherever it lies now."""
    random = Random(f"{seed}/{spec.name}/{at.topic}/{at.partition}/{at.offset}")
    kinds = _SICK if sick else _KINDS
    kind = random.choices(list(kinds), list(kinds.values()))[0]
    most = most_attempts(spec)
    times = FOREVER if kind in {"skip", "reject", "hopeless"} else random.choice([1, 1, 2, most - 1, FOREVER])
    seconds = random.choice([0.0005, 0.002, 0.01, 0.05, 0.3, 0.4])
    later = random.choice(later_s)
    rule = random.randrange(len(spec.retry)) if random.random() < 0.97 else NO_SUCH_RULE
    emits = tuple(random.choice(list(spec.emits)) for _ in range(random.choice([0, 0, 1, 1, 2]))) if spec.emits else ()
    return Script(kind, max(1, times) if kind != "done" else 0, seconds, later, rule, emits)
