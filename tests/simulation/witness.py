"""The witness: sees what workers do and what reaches the disk, and knows what was promised (design, section 4).

It keeps books of its own and trusts nothing that the runtime says of itself. The promises, as they are checked:

- *nothing lost*: an event is durably done only if it ended, in the session that settles it, and all it emitted, or its
  dead letter, is on the disk by then; at the end every event is;
- *exactly once* (transactional disk): no emitted id and no dead letter is there twice;
- *order*: an event starts when all before it in its lane have ended, in this session or durably before it; what a lane
  emits is published in lane order, repeats dropped;
- *attempts*: an event's attempt number is what is durably charged plus one; what is charged is exactly what failed,
  and was reported, so neither `NotRun`, nor a neighbour's crash, nor a cancellation, nor a restart is; no event starts
  before its time, nor more often than its attempts and what excuses a restart;
- *progress*: the watermark grows, what is done stays done, a settlement holds exactly the outcomes whose appends it
  carries, and is written only in the epoch of the partition's owner;
- *revoke*: when it returns, nothing of the partition runs, unless the owner was put out before;
- *bounds*: no more events are held than fetching allows.

A session is one assignment of a partition. One whose runtime was frozen until it was put out of its group is *stale*:
its starts are not judged (the limit that rule R1 states), what it writes is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from headrace.runtime.ports import Append, Assigned, Fetched, Partition, Record, Settlement
from headrace.sandbox.headers import unpack
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.outcome import Done, Failed, NotRun, Outcome, Postponed, Rejected, Skipped
from headrace.sandbox.process import Death
from headrace.sandbox.wire import Chunk, Task
from simulation.account import Account
from simulation.worker import lane_of

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.worker import SimulatedWorker
    from simulation.world import World

Claim = tuple[str, Partition]


class BrokenPromise(AssertionError):
    """What must never happen did."""


class Ending(NamedTuple):
    """How an event ended: "done" or "dead", with the ids of what it emitted."""

    kind: str
    emits: tuple[str, ...] = ()


@dataclass(eq=False)
class Session:
    """One assignment of a partition to a runtime."""

    claim: Claim
    node: Node
    life: int
    epoch: int
    spec: FunctionSpec
    before: Account
    over: bool = False
    stale: bool = False
    delivered: int = 0
    reached: int = 0
    ended: int = 0
    next_of: dict[object, int] = field(default_factory=dict)  # how many of a lane's events have ended
    endings: dict[int, Ending] = field(default_factory=dict)  # of its events, as it learned of them
    aside: set[int] = field(
        default_factory=set
    )  # set aside at the start: the last owner died under them once too often

    def __repr__(self) -> str:
        state = " and ".join(name for name in ("stale", "over") if getattr(self, name)) or "live"
        return f"{self.claim[0]} {self.claim[1][0]}/{self.claim[1][1]} epoch {self.epoch} of {self.node.name} ({state})"


@dataclass(eq=False)
class Life:
    """What is known of one event of one function."""

    offset: int
    lane: object
    place_in_lane: int
    starts: int = 0
    excuses: int = 0
    charged: int = 0  # failed attempts that were reported, in all sessions
    expected: int = 0  # what the ledger must say before the next start
    state: str = "idle"  # running, ran, failed, ended; lost
    session: Session | None = None
    crashed: bool = False  # charged with a crash
    alone: bool = False  # a worker crashed while it and others ran, or under it alone: it has to run alone
    barren: bool = False  # ended without an emit once: if that is not settled, another run may end otherwise
    known: set[str] = field(default_factory=set)  # ids of every emit of every success


class Witness:
    """See the module."""

    def __init__(self, world: World) -> None:
        self.broken: BrokenPromise | None = None
        self.sessions: dict[Claim, Session] = {}
        self.durable: dict[Claim, Account] = {}
        self.published: dict[str, int] = defaultdict(int)
        self.letters: dict[tuple[str, str, int, int], int] = defaultdict(int)
        self.settlements: dict[Claim, Settlement] = {}
        self.specs: dict[str, FunctionSpec] = {}
        self._world = world
        self._held: dict[tuple[Node, Claim], Session] = {}
        self._excused: set[tuple[Claim, int]] = set()
        self._epochs: dict[tuple[Claim, int], Session] = {}
        self._lives: dict[tuple[str, Partition], dict[int, Life]] = defaultdict(dict)
        self._lanes: dict[tuple[str, Partition], dict[object, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._seen: dict[Partition, int] = defaultdict(int)
        self._progress: dict[Claim, Any] = {}
        self._last_emit: dict[object, tuple[int, int]] = {}

    def fail(self, message: str) -> NoReturn:
        """A promise is broken."""
        if self.broken is None:
            self.broken = BrokenPromise(message)
        raise self.broken

    # -- sessions -----------------------------------------------------------------------------------------------------

    def claimed(self, group: str, partition: Partition, member: str, epoch: int) -> None:
        """The log gave a partition to a member; its runtime will learn it when it can."""
        if self._world.node_of(member).frozen:
            self._excused.add(((group, partition), epoch))

    def assigned(self, node: Node, group: str, assigned: Assigned) -> None:
        """A runtime learns that it was given a partition."""
        claim = (group, assigned.partition)
        account = Account.read(assigned.watermark, assigned.progress)
        session = Session(claim, node, node.life, assigned.epoch, self.specs[group], account)
        session.stale = self._world.disk.owners[claim].epoch != assigned.epoch
        self._held[node, claim] = self._epochs[claim, assigned.epoch] = session
        self._world.trace("assigned", session, account)
        if not session.stale:
            self._replace(claim, session, assigned.watermark is None)
        if account.died_at is not None:
            self._charge_owner_death(session, account.died_at)
        for offset, charged in account.failures.items():
            if charged >= session.spec.retry[-1].attempts:
                session.aside.add(offset)
                session.endings[offset] = Ending("dead")

    def _replace(self, claim: Claim, session: Session, fresh: bool) -> None:
        """The session is the partition's; the one before must be over, or its runtime was frozen."""
        old, self.sessions[claim] = self.sessions.get(claim), session
        if old is not None:
            if old.epoch >= session.epoch:
                self.fail(f"epoch: {session} after {old}")
            if not old.over and (claim, old.epoch) not in self._excused:
                self.fail(f"revoke: {session} was assigned while {old} was not revoked, and not frozen")
            old.stale = old.stale or not old.over
        told, durable = session.before, self.durable.get(claim, Account())
        if not fresh and told != durable:
            self.fail(f"progress: {session} was told {told}, the disk has {durable}")

    def _charge_owner_death(self, session: Session, offset: int) -> None:
        """Rule R2, `runtime-died`: a careful owner died under an event whose start was written down."""
        life = self._lives[session.spec.name, session.claim[1]][offset]
        life.charged += 1
        charged = session.before.failures.get(offset, 0) + 1
        session.before.failures[offset] = charged
        self._world.trace("charged with the death of its owner", session, offset, charged)

    def revoked(self, node: Node, group: str, partition: Partition) -> None:
        """A runtime has let go of a partition."""
        session = self._held.pop((node, (group, partition)), None)
        if session is None:
            return
        session.over = True
        session.stale = session.stale or not self._owns(session)
        self._world.trace("revoked", session)
        if not session.stale and (running := self._running(node, session)):
            self.fail(f"revoke: {session} was let go while offsets {running} of it ran")

    def froze(self, node: Node) -> None:
        """A runtime is frozen: another may take over what it holds."""
        for claim, owner in self._world.disk.owners.items():
            if (owner.member or "").startswith(f"{node.name}."):
                self._excused.add((claim, owner.epoch))

    def died_unclean(self, node: Node) -> None:
        """A runtime is gone, with all its workers."""
        for (holder, claim), session in list(self._held.items()):
            if holder is node:
                session.over = True
                del self._held[node, claim]

    def _owns(self, session: Session) -> bool:
        """Whether the log has it as the owner; one that was put out does not know it yet."""
        owner = self._world.disk.owners[session.claim]
        return owner.member is not None and owner.epoch == session.epoch

    def _running(self, node: Node, session: Session) -> list[int]:
        return [
            work.chunk.tasks[index].offset
            for worker in node.bodies()
            if worker.alive
            for work in worker.sent
            if work.session is session
            for index in work.running
        ]

    # -- workers ------------------------------------------------------------------------------------------------------

    def handed_out(self, node: Node, spec: FunctionSpec, chunk: Chunk) -> Session:
        """A chunk goes to a worker; whose it is."""
        claim = (self._world.group(spec.name), (chunk.topic, chunk.partition))
        session = self._held.get((node, claim))
        if session is None:
            self.fail(f"order: {node.name} hands out {_offsets(chunk)} of {claim}, which it does not hold")
        return session

    def started(self, worker: SimulatedWorker, session: Session, task: Task, beside: Sequence[Task]) -> None:
        """An event starts in a worker."""
        life = self.life(session, task)
        beside_it = f"beside {len(beside)}" if beside else "alone"
        stale = "in a stale session" if session.stale else ""
        what = (session.claim, task.offset, task.key, "attempt", task.attempt, "in", worker.id, beside_it, stale)
        self._world.trace("start", *what)
        life.starts += 1
        if session.stale:
            life.excuses += 1
            now = self.sessions[session.claim]
            if now is not session and (now.node, now.life) == (session.node, session.life):
                self.fail(f"order: offset {task.offset} of {session} starts while its runtime has {now}")
            return
        event = f"offset {task.offset} of {session}"
        if session.over:
            self.fail(f"order: {event} starts after its partition was let go")
        self._check_turn(life, session, event)
        self._check_attempt(life, session, task, event)
        if beside and (life.alone or any(self.life(session, one).alone for one in beside if one is not task)):
            self.fail(f"attempts: {event} starts beside others, and one of them is suspected of a crash")
        life.state, life.session = "running", session

    def _check_turn(self, life: Life, session: Session, what: str) -> None:
        """Whether all before it in its lane have ended, and it has not."""
        if session.before.done(life.offset):
            self.fail(f"exactly once: {what} starts, and was done before")
        if life.offset in session.aside:
            self.fail(f"attempts: {what} starts, and has had all its attempts")
        if life.session is session and life.state not in {"failed", "lost", "idle"}:
            self.fail(f"order: {what} starts again; it is {life.state}")
        if life.session is not session and life.session is not None:
            learned = life.state == "failed" and life.expected == session.before.failures.get(life.offset, 0)
            life.excuses += not learned  # its owner died, or let go of it
            life.alone = life.crashed = life.crashed and learned
        if life.session is not session:
            life.expected = session.before.failures.get(life.offset, 0)
            life.alone = life.alone or session.before.died_at == life.offset
        lane = self._lanes[session.spec.name, session.claim[1]][life.lane]
        next_ = session.next_of.get(life.lane, 0)
        while next_ < life.place_in_lane and (session.before.done(lane[next_]) or lane[next_] in session.aside):
            next_ += 1
        session.next_of[life.lane] = next_
        if next_ != life.place_in_lane:
            self.fail(f"order: {what} starts, and offset {lane[next_]} before it in its lane {life.lane} has not ended")

    def _check_attempt(self, life: Life, session: Session, task: Task, what: str) -> None:
        durable = self.durable.get(session.claim, Account())
        charged = durable.failures.get(life.offset, 0)
        if charged != life.expected:
            self.fail(f"attempts: {what} starts; {charged} failures are durable, it has had {life.expected}")
        if task.attempt != charged + 1:
            self.fail(f"attempts: {what} starts as attempt {task.attempt} with {charged} failures charged")
        if (due_ms := durable.due_ms.get(life.offset, 0)) > self._world.clock.now_ms():
            self.fail(f"attempts: {what} starts {due_ms - self._world.clock.now_ms()} ms before its time")
        attempts = session.spec.retry[-1].attempts
        if task.attempt > attempts or life.starts > attempts + life.excuses:
            self.fail(f"attempts: {what} starts {life.starts} times, attempt {task.attempt} of {attempts}")

    def ran(self, session: Session, task: Task, outcome: Outcome | None) -> None:
        """An event has run to its end in a worker; nobody knows yet."""
        life = self.life(session, task)
        self._world.trace("end", session.claim, task.offset, type(outcome or Done()).__name__)
        if isinstance(outcome, Done):
            life.known.update(emit.id for emit in outcome.emits)
        if session.stale or life.session is not session:
            return
        life.state = "ran"
        if _ending(outcome, task, session.spec):
            session.next_of[life.lane] = life.place_in_lane + 1

    def reported(self, session: Session, task: Task, outcome: Outcome | None) -> None:
        """The runtime learns how an event ended."""
        life = self.life(session, task)
        ending = _ending(outcome, task, session.spec)
        if isinstance(outcome, NotRun):
            return
        life.charged += not ending or isinstance(outcome, Failed | Postponed)
        if ending:
            emits = tuple(emit.id for emit in outcome.emits) if isinstance(outcome, Done) else ()
            session.endings[life.offset] = Ending(ending, emits)
            life.barren = life.barren or not emits
            session.ended += 1
        if session.stale or life.session is not session:
            return
        life.state = "ended" if ending else "failed"
        life.expected += not ending

    def died(self, worker: SimulatedWorker, death: Death) -> None:
        """The runtime learns that a worker is gone: who is to blame pays, suspects run alone, the others go back."""
        innocent = death.reason in {"stopped", "zygote"}
        pays = set(death.culprits) or (set(death.running) if len(death.running) == 1 else set())
        for work in worker.sent:
            for index, task in enumerate(work.chunk.tasks):
                life = self.life(work.session, task)
                if index in work.told or life.session is not work.session or life.state not in {"running", "ran"}:
                    continue
                lane = work.session.next_of
                lane[life.lane] = min(lane.get(life.lane, 0), life.place_in_lane)
                if not innocent and (work.chunk.id, index) in pays:
                    life.crashed = life.crashed or death.reason != "timeout"
                    life.alone = life.alone or life.crashed
                    self._charge_crash(life, work.session, task)
                else:
                    life.excuses += 1
                    life.state = "lost"
                    suspect = not innocent and not pays and (work.chunk.id, index) in death.running
                    life.alone = life.alone or suspect

    def _charge_crash(self, life: Life, session: Session, task: Task) -> None:
        life.charged += 1
        if task.attempt >= session.spec.retry[-1].attempts:
            life.state, session.endings[life.offset] = "ended", Ending("dead")
            life.barren = True
            session.ended += 1
            session.aside.add(life.offset)
        else:
            life.state = "failed"
            life.expected += 1

    # -- the disk -----------------------------------------------------------------------------------------------------

    def wrote(self) -> None:
        """Something was written. Called between any two writes."""
        disk = self._world.disk
        for name, topic in disk.topics.items():
            for number, journal in enumerate(topic.journals):
                seen = self._seen[name, number]
                if journal.end > seen:
                    self._seen[name, number] = journal.end
                    for record in journal.records[seen:]:
                        self._appended(name, number, record)
        for claim, progress in disk.progress.items():
            if self._progress.get(claim) is not progress:
                self._progress[claim] = progress
                self._settled(claim, Account.read(*progress))

    def _appended(self, topic: str, partition: int, record: Record) -> None:
        for group, spec in self.specs.items():
            if topic in spec.topics:
                task = Task(record.offset, record.timestamp, record.key, None, b"")
                lane = self._lanes[spec.name, (topic, partition)][lane_of(spec.order, task)]
                life = Life(record.offset, lane_of(spec.order, task), len(lane))
                lane.append(record.offset)
                self._lives[spec.name, (topic, partition)][record.offset] = life
            if topic == self._world.dead_letters_of(group):
                self._letter(group, record)
                return
        if record.value is not None and record.value.startswith(b"f"):
            self._emitted(topic, partition, record)

    def _emitted(self, topic: str, partition: int, record: Record) -> None:
        assert record.value is not None
        function, place, nth, id_ = record.value.decode().split(" ")
        life, cause = self._life_at(function, place)
        self.published[id_] += 1
        self._world.trace("published", function, place, nth, "to", topic, partition, "at", record.offset)
        what = f"emit {nth} of {function} for {place}"
        if id_ not in life.known:
            self.fail(f"emits: {what} is published, and never was the outcome of a success")
        if self.published[id_] > 1:
            if self._world.disk.transactional:
                self.fail(f"exactly once: {what} is on the disk {self.published[id_]} times")
            return
        way = (function, topic, partition, cause, life.lane)
        last, self._last_emit[way] = self._last_emit.get(way, (-1, -1)), (life.offset, int(nth))
        # Where appends and progress are not one write, an owner may die between the emits of later events of the lane
        # and the dead letter of this one; run again it may succeed, and its emits come late. No reader can mend that.
        excused = life.barren and not self._world.disk.transactional
        if last >= (life.offset, int(nth)) and not excused:
            self.fail(f"order: {what} (lane {life.lane}) is published after emit {last[1]} for offset {last[0]}")

    def _letter(self, group: str, record: Record) -> None:
        headers = dict(unpack(record.headers))
        topic, partition, offset = (headers[f"headrace-origin-{x}"].decode() for x in ("topic", "partition", "offset"))
        place = (group, topic, int(partition), int(offset))
        self.letters[place] += 1
        self._world.trace("dead letter", *place, headers["headrace-error-type"])
        if self._world.disk.transactional and self.letters[place] > 1:
            self.fail(f"exactly once: the dead letter of {place} is on the disk {self.letters[place]} times")
        if int(headers["headrace-attempt"]) > self.specs[group].retry[-1].attempts:
            self.fail(f"attempts: {place} was set aside after {headers['headrace-attempt'].decode()} attempts")

    def _settled(self, claim: Claim, account: Account) -> None:
        before, self.durable[claim] = self.durable.get(claim, Account()), account
        settlement = self.settlements[claim]
        epoch = self._world.disk.owners[claim].epoch
        self._world.trace("settled", claim, "epoch", settlement.epoch, account)
        what = f"progress of {claim} in epoch {settlement.epoch}"
        if settlement.epoch != epoch:
            self.fail(f"epoch: {what} was accepted; its owner has epoch {epoch}")
        if account.watermark < before.watermark or any(not account.done(offset) for offset in before.beyond):
            self.fail(f"progress: {what} goes back from {before} to {account}")
        for offset in account.newly_done(before):
            self._check_done(claim, settlement.epoch, offset, what)
        for offset, failures in account.failures.items():
            life = self._lives[self.specs[claim[0]].name, claim[1]][offset]
            if failures > life.charged:
                self.fail(f"attempts: {what} charges offset {offset} {failures} times, it failed {life.charged} times")
        for offset, failures in before.failures.items():
            if not account.done(offset) and account.failures.get(offset, 0) < failures:
                self.fail(f"attempts: {what} forgets that offset {offset} failed {failures} times")
        self._check_carried(settlement.appends, account, what)

    def _check_done(self, claim: Claim, epoch: int, offset: int, what: str) -> None:
        group, (topic, partition) = claim
        if offset not in self._lives[self.specs[group].name, claim[1]]:
            return  # nothing is there: a gap
        ending = self._epochs[claim, epoch].endings.get(offset)
        if ending is None:
            self.fail(f"nothing lost: {what} has offset {offset} done, which has not ended in it")
        if any(not self.published[id_] for id_ in ending.emits):
            self.fail(f"nothing lost: {what} has offset {offset} done, and not all it emitted is published")
        expects_letter = ending.kind == "dead" and self._world.dead_letters_of(group) is not None
        if expects_letter and not self.letters[group, topic, partition, offset]:
            self.fail(f"nothing lost: {what} has offset {offset} done, and its dead letter is not there")

    def _check_carried(self, appends: Sequence[Append], account: Account, what: str) -> None:
        for append in appends:
            if append.topic in self._world.scenario.topics and append.value is not None:
                offset = int(append.value.split(b" ")[1].rsplit(b"/", 1)[1])
                if not account.done(offset):
                    self.fail(f"progress: {what} carries an emit of offset {offset} and does not have it done")

    # -- bounds and the end -------------------------------------------------------------------------------------------

    def polled(self, node: Node, group: str, fetched: Fetched) -> None:
        """Events were fetched."""
        session = self._held.get((node, (group, fetched.partition)))
        if session is not None and self._owns(session):
            ahead = [r.offset for r in fetched.records if r.offset >= session.reached]  # else it comes a second time
            session.reached = max(session.reached, fetched.next)
            fresh = [at for at in ahead if not session.before.done(at) and at not in session.aside]
            session.delivered += len(fresh)
            held = session.delivered - session.ended
            if held > self._world.most_held:
                self.fail(f"bounds: {held} events of {session} are held, {self._world.most_held} may be")

    def unfinished(self) -> list[str]:
        """Events that are not durably done."""
        return [
            f"{name} {partition[0]}/{partition[1]}/{offset} ({life.state}, started {life.starts} times)"
            for (name, partition), lives in self._lives.items()
            for offset, life in lives.items()
            if not self.durable.get((self._world.group(name), partition), Account()).done(offset)
        ]

    @property
    def events(self) -> int:
        """How many events there are for functions."""
        return sum(len(lives) for lives in self._lives.values())

    def life(self, session: Session, task: Task) -> Life:
        """What is known of an event."""
        return self._lives[session.spec.name, session.claim[1]][task.offset]

    def _life_at(self, function: str, place: str) -> tuple[Life, Partition]:
        topic, partition, offset = place.rsplit("/", 2)
        return self._lives[function, (topic, int(partition))][int(offset)], (topic, int(partition))


def _ending(outcome: Outcome | None, task: Task, spec: FunctionSpec) -> str:
    """How an event has ended, empty if it is to be tried again."""
    match outcome:
        case None | Done() | Skipped():
            return "done"
        case NotRun():
            return ""
        case Rejected() | Failed(rule=None):
            return "dead"
        case _:
            return "dead" if task.attempt >= spec.retry[-1].attempts else ""


def _offsets(chunk: Chunk) -> list[int]:
    return [task.offset for task in chunk.tasks]
