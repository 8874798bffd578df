"""Rates: how many events a function starts on one runtime. Promise: *rate*."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from headrace.runtime.rate import BURST_S
from headrace.sandbox.manifest import FunctionSpec

if TYPE_CHECKING:
    from simulation.witness import Witness
    from simulation.worker import SimulatedWorker

_TINY = 1e-6


class Rates:
    """Sees every chunk that is handed out. Virtual time takes no time, so what is handed out may start at once."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._starts: defaultdict[object, list[tuple[float, int]]] = defaultdict(list)

    def handed_out(self, worker: SimulatedWorker, spec: FunctionSpec, events: int) -> None:
        """So many events go to a worker."""
        if spec.rate is None:
            return
        node, now = worker.node, self._witness.world.loop.now
        starts = self._starts[node.name, node.life, spec.name]
        starts.append((now, events))
        total, burst = 0, max(1.0, spec.rate * BURST_S, spec.batch.size if spec.batch else 0)
        for since, count in reversed(starts):
            total += count
            most = burst + spec.rate * (now - since) + _TINY
            if total > most:
                self._witness.fail(f"rate: {spec.name} starts {total} events in {now - since:g} s on {node.name}")
            if total + 1 > most:
                self._witness.saw("rate reached")

    def __repr__(self) -> str:
        return f"<Rates of {len(self._starts)} functions and lives>"
