"""Settlements: what becomes durable. Promises: *nothing lost*, *attempts*, *progress*, *epoch*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.runtime.ports import Settlement
from simulation.account import Account
from simulation.process import Process, running
from simulation.session import Claim, Session

if TYPE_CHECKING:
    from simulation.witness import Witness

FULL = 0.75  # of the limit: intake stops (R3)


@dataclass(eq=False)
class Offer:
    """A settlement that a runtime writes, and how often it has begun to: it is kept and written again as it is."""

    settlement: Settlement
    times: int = 0

    @property
    def epoch(self) -> int:
        """That of its session."""
        return self.settlement.epoch

    @property
    def claim(self) -> Claim:
        """What it settles."""
        return self.settlement.group, self.settlement.partition


class Settlements:
    """Sees every settlement, before it is written and when its progress is on the disk."""

    def __init__(self, witness: Witness) -> None:
        self.durable: dict[Claim, Account] = {}
        self._witness = witness
        self._offers: dict[tuple[Claim, int], Offer] = {}  # the last one of each session
        self._writing: dict[Process, Offer] = {}  # a client writes one settlement after another

    def offered(self, settlement: Settlement) -> None:
        """It is about to be written. On an at-least-once disk it is so twice: its records, then its progress."""
        place = ((settlement.group, settlement.partition), settlement.epoch)
        if (offer := self._offers.get(place)) is None or offer.settlement is not settlement:
            offer = self._offers[place] = Offer(settlement)
        offer.times += 1
        self._writing[running()] = offer
        limit, size = self._witness.world.scenario.limits.progress, len(settlement.progress)
        if limit is None:
            return
        if size >= FULL * limit:
            self._witness.saw("progress written near its limit")
        if size > limit:
            self._witness.fail(f"progress: that of {offer.claim} has {size} bytes, {limit} are the limit of the log")

    def being_written(self) -> tuple[Offer, Session]:
        """The settlement that the record or progress being written is of."""
        offer = self._writing[running()]
        return offer, self._witness.sessions.of_epoch(offer.claim, offer.epoch)

    def settled(self, claim: Claim, account: Account) -> None:
        """Progress was written."""
        witness = self._witness
        before, self.durable[claim] = witness.durable(claim), account
        offer, session = self.being_written()
        epoch = witness.world.disk.owners[claim].epoch
        witness.world.trace("settled", claim, "epoch", offer.epoch, account)
        what = f"progress of {claim} in epoch {offer.epoch}"
        if offer.epoch != epoch:
            witness.fail(f"epoch: {what} was accepted; its owner has epoch {epoch}")
        if account.watermark < before.watermark or any(not account.done(offset) for offset in before.beyond):
            witness.fail(f"progress: {what} goes back from {before} to {account}")
        for offset in account.newly_done(before):
            self._check_done(session, offset, what)
        self._check_ledger(session, before, account, what)
        self._check_carried(offer, session, account, what)

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
        if ending.kind == "moved" and not witness.detours.moved(life):
            witness.fail(f"nothing lost: {what} has offset {offset} done, and no retry topic has it")
        if ending.kind != "dead":
            return
        if witness.world.dead_letters_of(group) is None:
            witness.saw("discarded")
        elif not witness.publications.has_letter(group, life.event.origin):
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

    def _check_carried(self, offer: Offer, session: Session, account: Account, what: str) -> None:
        """What it appended was of events that it has done, so that nothing of them comes a second time."""
        witness, (_, partition) = self._witness, session.claim
        for append in offer.settlement.appends:
            if append.topic in witness.world.scenario.topics and append.value is not None:
                function, place, _, id_ = append.value.decode().split(" ")
                lying = witness.lives.caused(function, place).lying(partition)
                ended = [life for life in lying if id_ in session.emits_of(life)]
                if not any(account.done(life.offset) for life in ended):
                    witness.fail(f"progress: {what} carries an emit of {lying} and has it not done")
        for life in witness.detours.moved_by(offer):
            if not any(account.done(one.offset) for one in life.event.lying(partition)):
                witness.fail(f"progress: {what} carries the retry of {life} and has it not done")

    def __repr__(self) -> str:
        return f"<Settlements: {self.durable}>"
