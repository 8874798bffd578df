"""What a handler does with an event: drawn from the seed, and a function of the event and its attempt only.

So an event that is handled again, by whomever and after whatever, does the same, and what it must end as is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from headrace.sandbox.manifest import FunctionSpec

FOREVER = 1 << 30

# kind: how often it occurs
_KINDS = {
    "done": 60,
    "skip": 4,
    "reject": 4,
    "fail": 10,
    "hopeless": 3,
    "postpone": 5,
    "timeout": 4,
    "crash": 5,
    "hang": 2,
}


@dataclass(frozen=True)
class Script:
    """One event's behaviour: `kind` for attempts 1 to `times`, from then on "done"; for `seconds` each."""

    kind: str
    times: int
    seconds: float
    emits: tuple[str, ...]

    def at(self, attempt: int) -> str:
        """What it does at this attempt."""
        return self.kind if attempt <= self.times else "done"

    @property
    def ends_dead(self) -> bool:
        """Never to be done, however often it is tried."""
        return self.kind in {"reject", "hopeless"}


def script_of(seed: int, spec: FunctionSpec, topic: str, partition: int, offset: int) -> Script:
    """The script of an event for a function."""
    random = Random(f"{seed}/{spec.name}/{topic}/{partition}/{offset}")
    kind = random.choices(list(_KINDS), list(_KINDS.values()))[0]
    attempts = spec.retry[-1].attempts
    times = FOREVER if kind in {"skip", "reject", "hopeless"} else random.choice([1, 1, 2, attempts - 1, FOREVER])
    seconds = random.choice([0.0005, 0.002, 0.01, 0.05, 0.3, 0.4])
    emits = tuple(random.choice(list(spec.emits)) for _ in range(random.choice([0, 0, 1, 1, 2]))) if spec.emits else ()
    return Script(kind, max(1, times) if kind != "done" else 0, seconds, emits)
