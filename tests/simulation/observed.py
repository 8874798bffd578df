"""Observed: what stands between a runtime and the log, or its observers, and tells the witness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.runtime.ports import Assigned, Fetched, Partition, Rebalance
from headrace.runtime.result import Result
from headrace.sandbox.manifest import FunctionSpec
from headrace.triggers.brokers.memory import MemoryLog

if TYPE_CHECKING:
    from simulation.node import Node


class ObservedLog:
    """A client of the log whose memberships the witness sees."""

    def __init__(self, log: MemoryLog, node: Node) -> None:
        self._log = log
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def join(self, group: str, topics: Sequence[str], rebalance: Rebalance, **options: Any) -> Any:
        """See `ports.Broker.join`."""
        observed = _ObservedRebalance(rebalance, self._node, group)
        return _ObservedMember(await self._log.join(group, topics, observed, **options), self._node, group)


class _ObservedMember:
    """A membership that tells what is fetched."""

    def __init__(self, member: Any, node: Node, group: str) -> None:
        self._member, self._node, self._group = member, node, group

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """See `ports.Member.poll`."""
        batch: Sequence[Fetched] = await self._member.poll(limit)
        for fetched in batch:
            self._node.world.witness.intake.polled(self._node, self._group, fetched)
        return batch

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        """See `ports.Member.pause`."""
        self._member.pause(partitions, paused=paused)
        self._node.world.witness.intake.paused(self._node, self._group, partitions, paused=paused)


class _ObservedRebalance:
    """What is told of partitions, told to the witness too."""

    def __init__(self, inner: Rebalance, node: Node, group: str) -> None:
        self._inner, self._node, self._group = inner, node, group

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        """See `ports.Rebalance.assigned`."""
        for one in partitions:
            self._node.world.witness.sessions.assigned(self._node, self._group, one)
        await self._inner.assigned(partitions)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """See `ports.Rebalance.revoked`."""
        await self._inner.revoked(partitions)
        for one in partitions:
            self._node.world.witness.sessions.revoked(self._node, self._group, one)


class Observer:
    """An observer of one runtime; see `headrace.runtime.hooks`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def function_state(self, *, function: str, state: str, reason: str) -> None:
        """See `Hooks.function_state`."""
        self._node.world.trace(self._node.name, function, "is", state, reason)
        if state == "waiting-full":
            progress = reason.startswith("progress")
            self._node.world.census.saw(f"waiting-full: {'progress near its limit' if progress else 'too many wait'}")

    def handled(self, *, function: FunctionSpec, results: Sequence[Result]) -> None:
        """See `Hooks.handled`."""
        self._node.world.witness.handled(self._node, function, results)

    def output(self, **_: object) -> None:
        """See `Hooks.output`."""
