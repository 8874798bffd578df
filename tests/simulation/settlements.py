"""Settlements: what becomes durable. Promises: *nothing lost*, *attempts*, *progress*, *epoch*."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.runtime.ports import Append, Settlement
from simulation.account import Account
from simulation.life import Life
from simulation.session import Claim, Session

if TYPE_CHECKING:
    from simulation.witness import Witness

FULL = 0.75  # of the limit: intake stops (R3)


class Settlements:
    """Sees every settlement, before it is written and when its progress is on the disk."""

    def __init__(self, witness: Witness) -> None:
        self.durable: dict[Claim, Account] = {}
        self._witness = witness
        self._offered: dict[Claim, Settlement] = {}

    def offered(self, settlement: Settlement) -> None:
        """It is about to be written."""
        self._offered[settlement.group, settlement.partition] = settlement
        limit, size = self._witness.world.scenario.limits.progress, len(settlement.progress)
        if limit is None:
            return
        if size >= FULL * limit:
            self._witness.saw("progress written near its limit")
        if size > limit:
            claim = (settlement.group, settlement.partition)
            self._witness.fail(f"progress: that of {claim} has {size} bytes, {limit} are the limit of the log")

    def writer(self, group: str, life: Life) -> Session:
        """The session whose settlement a record of an event is being written for."""
        claim = (group, life.lies[0])
        return self._witness.sessions.of_epoch(claim, self._offered[claim].epoch)

    def settled(self, claim: Claim, account: Account) -> None:
        """Progress was written."""
        witness = self._witness
        before, self.durable[claim] = witness.durable(claim), account
        settlement = self._offered[claim]
        epoch = witness.world.disk.owners[claim].epoch
        witness.world.trace("settled", claim, "epoch", settlement.epoch, account)
        what = f"progress of {claim} in epoch {settlement.epoch}"
        if settlement.epoch != epoch:
            witness.fail(f"epoch: {what} was accepted; its owner has epoch {epoch}")
        if account.watermark < before.watermark or any(not account.done(offset) for offset in before.beyond):
            witness.fail(f"progress: {what} goes back from {before} to {account}")
        session = witness.sessions.of_epoch(claim, epoch)
        for offset in account.newly_done(before):
            self._check_done(session, offset, what)
        self._check_ledger(session, before, account, what)
        self._check_carried(settlement.appends, account, what)

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _check_done(self, session: Session, offset: int, what: str) -> None:
        witness, (group, partition) = self._witness, session.claim
        life = witness.lives.at(session.spec.name, partition, offset)
        if life is None or (life.gone and life.session is not session):
            return  # nothing is there: a gap
        ending = session.endings.get(offset)
        if ending is None:
            witness.fail(f"nothing lost: {what} has offset {offset} done, which has not ended in it")
        if not witness.publications.has_emits(ending.emits):
            witness.fail(f"nothing lost: {what} has offset {offset} done, and not all it emitted is published")
        if ending.kind != "dead":
            return
        if witness.world.dead_letters_of(group) is None:
            witness.saw("discarded")
        elif not witness.publications.has_letter(group, life.origin):
            witness.fail(f"nothing lost: {what} has offset {offset} done, and its dead letter is not there")

    def _check_ledger(self, session: Session, before: Account, account: Account, what: str) -> None:
        witness, (_, partition) = self._witness, session.claim
        for offset, failures in account.failures.items():
            life = witness.lives.at(session.spec.name, partition, offset)
            assert life is not None
            if failures > life.charged and offset not in session.aside:
                witness.fail(
                    f"attempts: {what} charges offset {offset} {failures} times, it failed {life.charged} times"
                )
            if account.done(offset) and not life.gone:
                witness.fail(f"progress: {what} charges offset {offset}, which is done")
        for offset, failures in before.failures.items():
            if not account.done(offset) and account.failures.get(offset, 0) < failures:
                witness.fail(f"attempts: {what} forgets that offset {offset} failed {failures} times")

    def _check_carried(self, appends: Sequence[Append], account: Account, what: str) -> None:
        for append in appends:
            if append.topic in self._witness.world.scenario.topics and append.value is not None:
                function, place, *_ = append.value.decode().split(" ")
                offset = self._witness.lives.caused(function, place).offset
                if not account.done(offset):
                    self._witness.fail(f"progress: {what} carries an emit of offset {offset} and has it not done")

    def __repr__(self) -> str:
        return f"<Settlements: {self.durable}>"
