"""A session: one assignment of a partition to a runtime, and what that runtime has learned in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from headrace.runtime.ports import Partition
from headrace.sandbox.manifest import FunctionSpec
from simulation.account import Account

if TYPE_CHECKING:
    from simulation.life import Life, Turn
    from simulation.node import Node

Claim = tuple[str, Partition]
"""A group's name and a partition."""


class Ending(NamedTuple):
    """How an event ended: "done" or "dead", with the ids of what it emitted, after how many attempts.

    One that was "moved" goes on in a retry topic, due from `least_ms` to `most_ms`; `alone`: to be run so.
    """

    kind: str
    emits: tuple[str, ...]
    attempts: int
    alone: bool = False
    least_ms: int = 0
    most_ms: int = 0


@dataclass(eq=False)
class Session:
    """One assignment of a partition to a runtime.

    One whose runtime was frozen until it was put out of its group is *stale*: its starts are not judged (the limit that
    rule R1 states), what it writes is.
    """

    claim: Claim
    node: Node
    life: int
    epoch: int
    spec: FunctionSpec
    before: Account
    defers: bool  # what fails is to go on in a retry topic
    over: bool = False
    stale: bool = False
    delivered: int = 0
    reached: int = 0
    ended: int = 0
    next_of: dict[object, int] = field(default_factory=dict)  # how many of a lane's events have ended
    endings: dict[int, Ending] = field(default_factory=dict)  # of its events, as it learned of them
    generations: dict[object, int] = field(default_factory=dict)  # in which a lane was last
    sent: dict[int, int] = field(default_factory=dict)  # in which generation's worker an event was last
    aside: set[int] = field(default_factory=set)  # condemned: never to be started again

    def emits_of(self, life: Life) -> tuple[str, ...]:
        """What an event emitted in it."""
        ending = self.endings.get(life.offset)
        return ending.emits if ending else ()

    def pass_(self, life: Life) -> None:
        """It has ended: the next of its lane may start."""
        lane, place = self.turn(life)
        self.next_of[lane] = place + 1

    def go_back(self, life: Life) -> None:
        """It has not ended after all."""
        lane, place = self.turn(life)
        self.next_of[lane] = min(self.next_of.get(lane, 0), place)

    def turn(self, life: Life) -> Turn:
        """The place of an event in its lane."""
        return life.turns[self.spec.order]

    def __repr__(self) -> str:
        state = " and ".join(name for name in ("stale", "over") if getattr(self, name)) or "live"
        return f"{self.claim[0]} {self.claim[1][0]}/{self.claim[1][1]} epoch {self.epoch} of {self.node.name} ({state})"
