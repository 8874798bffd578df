"""Reload: what follows for a running app from another manifest. Decisions only; the engine carries them out.

Live, without a rebalance: another code, and every option that no member of the group has to know of. Subscribed anew,
after what runs has ended: what an event must not meet half way (its topics, its order, whether it may be repeated, and
how events are put together). A function of another name is another function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from headrace.sandbox.manifest import FunctionSpec

SUBSCRIBED = ("topics", "order", "guarantee", "batch")


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of each function. `renewed` go on under new code; `removed` are named only."""

    added: Sequence[FunctionSpec]
    removed: Sequence[str]
    resubscribed: Sequence[FunctionSpec]
    renewed: Sequence[FunctionSpec]

    @classmethod
    def between(cls, serving: Iterable[FunctionSpec], wanted: Sequence[FunctionSpec]) -> Self:
        """From what is being served to what is wanted."""
        known = {spec.name: spec for spec in serving}
        staying = [spec for spec in wanted if spec.name in known]
        again = [spec for spec in staying if is_subscribed_anew(known[spec.name], spec)]
        return cls(
            added=[spec for spec in wanted if spec.name not in known],
            removed=sorted(known.keys() - {spec.name for spec in wanted}),
            resubscribed=again,
            renewed=[spec for spec in staying if spec not in again],
        )

    @property
    def interrupts(self) -> bool:
        """Whether a function is to be given up, for good or for a moment."""
        return bool(self.removed or self.resubscribed)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did, by function name.

    Those in `failed`, with the reason, still serve what they served before; if they are `added` or `resubscribed`,
    nothing.
    """

    added: Sequence[str]
    removed: Sequence[str]
    resubscribed: Sequence[str]
    renewed: Sequence[str]
    failed: Mapping[str, str] = field(default_factory=dict)


def is_subscribed_anew(old: FunctionSpec, new: FunctionSpec) -> bool:
    """Whether a function cannot go on as the member of its group that it is."""
    return any(getattr(old, name) != getattr(new, name) for name in SUBSCRIBED)
