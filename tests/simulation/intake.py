"""Intake: what is fetched, when that stops and goes on. Promise: *bounds*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.runtime.ports import Fetched, Partition

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.session import Session
    from simulation.witness import Witness


class Intake:
    """Sees every fetch."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._stopped: set[tuple[Node, int, str, Partition]] = set()

    def polled(self, node: Node, group: str, fetched: Fetched) -> None:
        """Events were fetched."""
        sessions = self._witness.sessions
        session = sessions.held(node, (group, fetched.partition))
        if session is None or not sessions.owns(session):
            return
        ahead = [r.offset for r in fetched.records if r.offset >= session.reached]
        if len(ahead) < len(fetched.records):
            self._witness.saw("delivered a second time")
        session.reached = max(session.reached, fetched.next)
        fresh = [at for at in ahead if not session.before.done(at) and at not in session.aside]
        session.delivered += len(fresh)
        held, most = session.delivered - session.ended, self._witness.world.scenario.limits.most_held
        if held > most and held - self._going_on(session) > most:
            self._witness.fail(f"bounds: {held} events of {session} are held, {most} may be")

    def _going_on(self, session: Session) -> int:
        """How many of its events may have gone on to another topic in a settlement that is not written yet."""
        now_ms, (_, partition) = self._witness.world.clock.now_ms(), session.claim
        lying = self._witness.lives.lying(session.spec.name, partition)
        return sum(1 for one in lying if one.hop_ms <= now_ms < one.due_ms and one.offset not in session.endings)

    def paused(self, node: Node, group: str, partitions: Sequence[Partition], *, paused: bool) -> None:
        """A runtime stops fetching, or goes on."""
        for partition in partitions:
            place = (node, node.life, group, partition)
            if paused and place not in self._stopped:
                self._stopped.add(place)
                self._witness.saw(f"intake stopped: {_reason(node, group, partition)}")
            elif not paused and place in self._stopped:
                self._stopped.discard(place)
                self._witness.saw("intake went on")

    def __repr__(self) -> str:
        return f"<Intake: {len(self._stopped)} partitions stopped>"


def _reason(node: Node, group: str, partition: Partition) -> str:
    """Why a partition was paused; for the census only, which may ask the runtime."""
    subscription = next(one for one in node.engine.subscriptions if one.terms.group == group)
    return "full" if subscription._shards[partition].full else "enough is held"
