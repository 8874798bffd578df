"""A detour: whether events wait aside in retry topics, how far those reach, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_SHORT_S = (0.0, 0.05, 0.5)
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Detour:
    """What a seed drew of it. Falsy if nothing waits aside. Times are in seconds.

    `orders`: those of functions which have events wait aside; `later_order`: that of the first function when it is
    deployed again. `delays_s`, up to `most_s`, are of retry rules, `later_s` of `RetryAfter`; `pace`: how much slower
    things go wrong, so that they do while events wait. A log that waits for hours does so `idle_s` at a time, which is
    more than a broker may: to look around every second for hours shows nothing.
    """

    orders: tuple[str, ...] = ()
    delays_s: tuple[float, ...] = _SHORT_S
    most_s: float = 2.0
    later_s: tuple[float, ...] = (0.0, 0.2, 0.5, 2.5)
    pace: float = 1.0
    idle_s: float = 1.0
    later_order: str | None = None

    @classmethod
    def draw(cls, random: Random) -> Detour:
        """Mostly none; else one that reaches a few tiers, most of them, or beyond the last."""
        if random.random() < 0.65:
            return NONE
        later_order = random.choice([None, None, None, "key", "partition"])
        delays_s, most_s, later_s, pace, idle_s = random.choices(_REACHES, [60, 30, 10])[0]
        return cls(("none",), delays_s, most_s, later_s, pace, idle_s, later_order)

    @property
    def patience_s(self) -> float:
        """In this time every event has had all its attempts. One that waits can hold others up for its tier's delay."""
        return 2500.0 + 20 * max(self.most_s, *self.later_s)

    def __bool__(self) -> bool:
        return bool(self.orders)


NONE = Detour()
_REACHES = (
    ((0.0, 0.5, 3.0), 20.0, (0.0, 0.5, 2.5, 7.0), 1.0, 1.0),
    ((0.5, 3.0, 40.0, 100.0), 900.0, (0.5, 20.0, 100.0, 500.0), 10.0, 5.0),
    ((0.5, 100.0, 700.0), 1.1 * _HOUR_S, (500.0, 1.2 * _HOUR_S, 2.6 * _HOUR_S), 200.0, 60.0),
)
