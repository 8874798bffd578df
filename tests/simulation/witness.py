"""The witness: sees what workers do and what reaches the disk, and knows what was promised (design, section 4).

It keeps books of its own and trusts nothing that the runtime says of itself. The promises, as they are checked:

- *nothing lost*: an event is durably done only if it ended, in the session that settles it, and all it emitted, or its
  dead letter, is on the disk by then; at the end every event is, and every gap passed;
- *exactly once* (transactional disk): no emitted id and no dead letter is there twice;
- *order*: an event starts when all before it in its lane have ended, in this session or durably before it; a lane moves
  to a new generation of the code when nothing of it is left in the old; what a lane emits is published in lane order,
  repeats dropped;
- *attempts*: an event's attempt number is what is durably charged plus one; what is charged is exactly what failed,
  and was reported, so neither `NotRun`, nor a neighbour's crash, nor a cancellation, nor a restart is; no event starts
  before its time, nor more often than its attempts and what excuses a restart; each failure is held against the rule
  it is under;
- *progress*: the watermark grows, what is done stays done, a settlement holds exactly the outcomes whose appends it
  carries, is never over the log's limit, and is written only in the epoch of the partition's owner;
- *revoke*: when it returns, nothing of the partition runs, unless the owner was put out before;
- *bounds*: no more events are held than fetching allows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.runtime.ports import Partition, Record
from headrace.runtime.result import Result
from headrace.sandbox.manifest import FunctionSpec
from simulation.account import Account
from simulation.ends import Ends
from simulation.intake import Intake
from simulation.life import Lives
from simulation.promise import BrokenPromise
from simulation.publications import Publications
from simulation.session import Claim
from simulation.sessions import Sessions
from simulation.settlements import Settlements
from simulation.starts import Starts

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.world import World

_offset = attrgetter("offset")


class Witness:
    """See the module. Each of its parts sees one thing."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.saw = world.census.saw
        self.broken: BrokenPromise | None = None
        self.lives = Lives()
        self.sessions = Sessions(self)
        self.starts = Starts(self)
        self.ends = Ends(self)
        self.intake = Intake(self)
        self.publications = Publications(self)
        self.settlements = Settlements(self)
        self._seen: dict[Partition, int] = defaultdict(int)
        self._progress: dict[Claim, Any] = {}

    def fail(self, message: str) -> NoReturn:
        """A promise is broken."""
        if self.broken is None:
            self.broken = BrokenPromise(message)
        raise self.broken

    def durable(self, claim: Claim) -> Account:
        """What is on the disk of a group's progress."""
        return self.settlements.durable.get(claim, _NOTHING)

    # -- the disk -----------------------------------------------------------------------------------------------------

    def wrote(self) -> None:
        """Something was written. Called between any two writes."""
        disk = self.world.disk
        for name, topic in disk.topics.items():
            for number, journal in enumerate(topic.journals):
                seen = self._seen[name, number]
                if journal.end > seen:
                    self._seen[name, number] = journal.end
                    for record in journal.records[bisect_left(journal.records, seen, key=_offset) :]:
                        self._appended(name, number, record)
        for claim, progress in disk.progress.items():
            if self._progress.get(claim) is not progress:
                self._progress[claim] = progress
                self.settlements.settled(claim, Account.read(*progress))

    def compacted(self, partition: Partition, offsets: Collection[int]) -> None:
        """Records were removed."""
        self.world.trace("compacted", *partition, sorted(offsets))
        for group, spec in self.world.groups.items():
            for offset in offsets:
                life = self.lives.at(spec.name, partition, offset)
                if life is None or self.durable((group, partition)).done(offset):
                    continue
                life.gone = True
                self.saw(f"compacted {'while' if life.in_hand else 'before'} it was handled")

    def _appended(self, topic: str, partition: int, record: Record) -> None:
        for group, spec in self.world.groups.items():
            if topic in spec.topics:
                self.lives.born(spec, (topic, partition), record)
            if topic == self.world.dead_letters_of(group):
                self.publications.letter(group, record)
                return
        if record.value is not None and record.value.startswith(b"f"):
            self.publications.emitted(topic, partition, record)

    # -- what a runtime tells its observers ---------------------------------------------------------------------------

    def handled(self, node: Node, spec: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts ended. What is told of them must be true."""
        for result in results:
            claim = (self.world.group(spec.name), result.partition)
            session = self.sessions.held(node, claim)
            if session is None or session.stale:
                continue
            generation = session.sent.get(result.record.offset)
            if generation is not None and result.generation != generation:
                self.fail(f"order: a result of {session} says generation {result.generation}, it ran in {generation}")
            if result.generation:
                self.saw("result of a new generation")

    # -- the end ------------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Events that are not durably done, and gaps that are not passed."""
        left = [
            f"{function} {life}"
            for function, life in self.lives.all()
            if not (life.gone or self.durable((self.world.group(function), life.lies[0])).done(life.offset))
        ]
        return left or [
            f"{spec.name} {topic}/{number} is not at its end"
            for group, spec in self.world.groups.items()
            for topic, number in self.world.disk.partitions(spec.topics)
            if (end := self.world.disk.journal((topic, number)).end)
            and self.durable((group, (topic, number))).watermark < end
        ]

    def __repr__(self) -> str:
        return f"<Witness: {self.lives!r}, {self.publications!r}>"


_NOTHING = Account()
