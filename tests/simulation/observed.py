"""Observed: what stands between a runtime and the log, or its observers, and tells the witness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Assigned, Fetched, Partition, Rebalance, TopicSpec
from headrace.runtime.result import Result
from headrace.sandbox.manifest import FunctionSpec
from headrace.triggers.brokers.memory import MemoryLog, Step
from simulation.note import is_retry

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
        marks: dict[Partition, int | None] = {}
        observed = _ObservedRebalance(rebalance, self._node, group, marks)
        return _ObservedMember(await self._log.join(group, topics, observed, **options), self._node, group, marks)

    async def ensure(self, topics: Sequence[TopicSpec]) -> Sequence[str]:
        """See `ports.Admin.ensure`. Its acknowledgement may be lost, like that of a write."""
        saw, retries = self._node.world.census.saw, any(is_retry(topic.name) for topic in topics)
        try:
            made = await self._log.ensure(topics)
            if retries:
                saw("retry topic made", len(made))
                self._node.world.faults.after(Step(self._log.name, "ensure"))
        except BrokerUnavailable:
            saw("retry topic refused", retries)
            raise
        return made


class _ObservedMember:
    """A membership that tells what is fetched. `marks` is where the progress of each partition was when it came."""

    def __init__(self, member: Any, node: Node, group: str, marks: dict[Partition, int | None]) -> None:
        self._member, self._node, self._group, self._marks = member, node, group, marks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    async def poll(self, limit: int) -> Sequence[Fetched]:
        """See `ports.Member.poll`."""
        batch: Sequence[Fetched] = await self._member.poll(limit)
        for fetched in batch:
            self._node.world.witness.intake.polled(self._node, self._group, fetched)
        return batch

    def seek(self, partition: Partition, offset: int) -> None:
        """See `ports.Member.seek`."""
        self._member.seek(partition, offset)
        mark = self._marks.get(partition)
        self._node.world.census.saw("queued work kept over a rebalance", mark is not None and offset > mark)

    async def subscribe(self, topics: Sequence[str]) -> None:
        """See `ports.Member.subscribe`."""
        self._node.world.trace(self._node.name, "follows", *topics)
        await self._member.subscribe(topics)
        self._node.world.census.saw("retry topic followed")

    @property
    def is_settled(self) -> bool:
        """See `ports.Member.is_settled`."""
        return self._member.is_settled

    def pause(self, partitions: Sequence[Partition], *, paused: bool) -> None:
        """See `ports.Member.pause`."""
        self._member.pause(partitions, paused=paused)
        self._node.world.witness.intake.paused(self._node, self._group, partitions, paused=paused)


class _ObservedRebalance:
    """What is told of partitions, told to the witness too."""

    def __init__(self, inner: Rebalance, node: Node, group: str, marks: dict[Partition, int | None]) -> None:
        self._inner, self._node, self._group, self._marks = inner, node, group, marks

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        """See `ports.Rebalance.assigned`."""
        for one in partitions:
            self._node.world.witness.sessions.assigned(self._node, self._group, one)
            self._marks[one.partition] = one.watermark
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
            self._node.world.census.saw(f"waiting-full: {_why_full(reason)}")

    def handled(self, *, function: FunctionSpec, results: Sequence[Result]) -> None:
        """See `Hooks.handled`."""
        self._node.world.witness.handled(self._node, function, results)

    def output(self, **_: object) -> None:
        """See `Hooks.output`."""


def _why_full(reason: str) -> str:
    """For the census only."""
    if reason.startswith("progress"):
        return "progress near its limit"
    return "no room in progress" if "no room" in reason else "too many wait"
