"""Sessions: who holds which partition, as the log sees it and as its runtimes do. Promises: *epoch*, *revoke*."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace.runtime.ports import Assigned, Partition
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.wire import Chunk
from simulation.account import Account
from simulation.life import Place
from simulation.note import is_retry
from simulation.session import Claim, Ending, Session

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.witness import Witness
    from simulation.worker import SimulatedWorker


class Sessions:
    """All of them."""

    def __init__(self, witness: Witness) -> None:
        self.current: dict[Claim, Session] = {}
        self._witness = witness
        self._held: dict[tuple[Node, Claim], Session] = {}
        self._excused: set[tuple[Claim, int]] = set()
        self._epochs: dict[tuple[Claim, int], Session] = {}

    def of_epoch(self, claim: Claim, epoch: int) -> Session:
        """The one that settles in that epoch."""
        return self._epochs[claim, epoch]

    def held(self, node: Node, claim: Claim) -> Session | None:
        """What a runtime holds, as it knows it."""
        return self._held.get((node, claim))

    def owns(self, session: Session) -> bool:
        """Whether the log has it as the owner; one that was put out does not know it yet."""
        owner = self._witness.world.disk.owners[session.claim]
        return owner.member is not None and owner.epoch == session.epoch

    # -- what happens -------------------------------------------------------------------------------------------------

    def claimed(self, group: str, partition: Partition, member: str, epoch: int) -> None:
        """The log gave a partition to a member; its runtime will learn it when it can."""
        if self._witness.world.node_of(member).frozen:
            self._excused.add(((group, partition), epoch))

    def assigned(self, node: Node, group: str, assigned: Assigned) -> None:
        """A runtime learns that it was given a partition."""
        witness, claim = self._witness, (group, assigned.partition)
        account = Account.read(assigned.watermark, assigned.progress)
        spec = node.specs[group]
        defers = spec.order == "none" and witness.world.scenario.limits.progress is not None
        session = Session(claim, node, node.life, assigned.epoch, spec, account, defers)
        session.stale = witness.world.disk.owners[claim].epoch != assigned.epoch
        self._held[node, claim] = self._epochs[claim, assigned.epoch] = session
        witness.world.trace("assigned", session, account)
        if not session.stale:
            self._replace(claim, session, assigned.watermark is None)
        if account.died_at is not None:
            self._charge_owner_death(session)
        for offset, charged in account.condemned.items():
            failures = charged + self._brought(session, offset)
            if failures >= spec.retry[-1].attempts:
                session.aside.add(offset)
                session.endings[offset] = Ending("dead", (), failures)
        if account.watermark and is_retry(assigned.partition[0]):
            witness.saw("retry topic taken over")

    def handed_out(self, worker: SimulatedWorker, spec: FunctionSpec, chunk: Chunk) -> Session:
        """A chunk goes to a worker; whose it is."""
        world, node = self._witness.world, worker.node
        claim = (world.group(spec.name), (chunk.topic, chunk.partition))
        session = self._held.get((node, claim))
        if session is None:
            offsets = [task.offset for task in chunk.tasks]
            self._witness.fail(f"order: {node.name} hands out {offsets} of {claim}, which it does not hold")
        session.sent.update((task.offset, worker.generation) for task in chunk.tasks)
        return session

    def generations(self, node: Node, group: str, lies: Iterable[Place]) -> set[int] | None:
        """In which generations an event was last handed out, at these places; None if its runtime was put out."""
        held = [(self._held.get((node, (group, partition))), offset) for partition, offset in lies]
        sessions = [(session, offset) for session, offset in held if session is not None]
        if any(session.stale for session, _ in sessions):
            return None
        return {session.sent[offset] for session, offset in sessions if offset in session.sent}

    def revoked(self, node: Node, group: str, partition: Partition) -> None:
        """A runtime has let go of a partition."""
        session = self._held.pop((node, (group, partition)), None)
        if session is None:
            return
        session.over = True
        session.stale = session.stale or not self.owns(session)
        self._witness.world.trace("revoked", session)
        if not session.stale and (running := list(_running(node, session))):
            self._witness.fail(f"revoke: {session} was let go while offsets {running} of it ran")

    def froze(self, node: Node) -> None:
        """A runtime is frozen: another may take over what it holds."""
        for claim, owner in self._witness.world.disk.owners.items():
            if (owner.member or "").startswith(f"{node.name}."):
                self._excused.add((claim, owner.epoch))

    def died_unclean(self, node: Node) -> None:
        """A runtime is gone, with all its workers."""
        for (holder, claim), session in list(self._held.items()):
            if holder is node:
                session.over = True
                del self._held[node, claim]

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _replace(self, claim: Claim, session: Session, fresh: bool) -> None:
        """The session is the partition's; the one before must be over, or its runtime was frozen."""
        fail = self._witness.fail
        old, self.current[claim] = self.current.get(claim), session
        if old is not None:
            if old.epoch >= session.epoch:
                fail(f"epoch: {session} after {old}")
            if not old.over and (claim, old.epoch) not in self._excused:
                fail(f"revoke: {session} was assigned while {old} was not revoked, and not frozen")
            old.stale = old.stale or not old.over
            self._witness.saw("owner put out while it was frozen", not old.over)
        told, durable = session.before, self._witness.durable(claim)
        if not fresh and told != durable:
            fail(f"progress: {session} was told {told}, the disk has {durable}")

    def _brought(self, session: Session, offset: int) -> int:
        life = self._witness.lives.at(session.spec.name, session.claim[1], offset)
        return 0 if life is None else life.brought

    def _charge_owner_death(self, session: Session) -> None:
        """Rule R2, `runtime-died`: a careful owner died under an event whose start was written down."""
        offset = session.before.died_at
        assert offset is not None
        life = self._witness.lives.at(session.spec.name, session.claim[1], offset)
        assert life is not None
        life.charged += 1
        life.state, life.not_before_ms = "lost", 0  # what its owner had learned of it went with the owner
        charged = session.before.charge_owner_death()
        self._witness.saw("charged with the death of its owner")
        self._witness.world.trace("charged with the death of its owner", session, offset, charged)

    def __repr__(self) -> str:
        return f"<Sessions: {len(self._held)} held, {len(self._epochs)} so far>"


def _running(node: Node, session: Session) -> Iterable[int]:
    """Offsets of a session that run in workers which are alive."""
    for worker in node.bodies():
        for work in worker.sent:
            if work.session is session:
                yield from (work.chunk.tasks[index].offset for index in work.running)
