"""The witness: sees what workers do and what reaches the disk, and knows what was promised (design, section 4).

It keeps books of its own and trusts nothing that the runtime says of itself. The promises, as they are checked:

- *nothing lost*: an event is durably done only if it ended, in the session that settles it, and all it emitted, or its
  dead letter, is on the disk by then; at the end every event is, and every gap passed;
- *exactly once* (transactional disk): no emitted id and no dead letter is there twice, no event in retry topics twice;
  where appends and progress are two writes, it is there again only where a session appended it without its progress,
  or repeated a settlement whose acknowledgement was lost;
- *order*: an event starts when all before it in its lane have ended, in this session or durably before it; a lane moves
  to a new generation of the code when nothing of it is left in the old; what a lane emits is published in lane order,
  repeats dropped;
- *attempts*: an event's attempt number is what is durably charged plus one; what is charged is exactly what failed,
  and was reported, so neither `NotRun`, nor a neighbour's crash, nor a cancellation, nor a restart is; no event starts
  before its time, nor more often than its attempts and what excuses a restart; each failure is held against the rule
  it is under; a retry topic holds exactly those that failed and are not done, at the attempt that is next, in the tier
  that fits, until their time; to go on from one to another is no attempt;
- *progress*: the watermark grows, what is done stays done, a settlement holds exactly the outcomes whose appends it
  carries, is never over the log's limit, and is written only in the epoch of the partition's owner;
- *revoke*: when it returns, nothing of the partition runs, unless the owner was put out before;
- *identity*: whatever topics an event goes through, a handler gets it as it first came, and from there; so it is in
  retry topics and dead letters, byte for byte;
- *rate*: no runtime starts more events of a function in a span of time than its rate allows;
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
from simulation.batches import Batches
from simulation.detours import Detours
from simulation.ends import Ends
from simulation.intake import Intake
from simulation.life import Lives
from simulation.promise import BrokenPromise
from simulation.publications import Publications
from simulation.rates import Rates
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
        self.rates = Rates(self)
        self.batches = Batches(self)
        self.ends = Ends(self)
        self.intake = Intake(self)
        self.publications = Publications(self)
        self.detours = Detours(self)
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
                self.lives.born(spec.name, self.world.orders(spec.name), (topic, partition), record)
            if topic.startswith(f"{group}.retry."):
                self.detours.written(group, (topic, partition), record)
                return
            if topic == self.world.dead_letters_of(group):
                self.publications.letter(group, record)
                return
        if record.value is not None and record.value.startswith(b"f"):
            self.publications.emitted(topic, partition, record)

    # -- what a runtime tells its observers ---------------------------------------------------------------------------

    def handled(self, node: Node, spec: FunctionSpec, results: Sequence[Result]) -> None:
        """Attempts ended. What is told of them must be true."""
        for result in results:
            event = self.lives.event(spec.name, (result.partition, result.record.offset))
            if event is None:
                self.fail(f"identity: a result of {spec.name} is of {result.partition}: {result.record}, of no event")
            ran = self.sessions.generations(node, self.world.group(spec.name), [life.lies for life in event.lives])
            if ran and result.generation not in ran:
                self.fail(f"order: a result of {event} says generation {result.generation}, it ran in {ran}")
            if result.generation:
                self.saw("result of a new generation")

    # -- the end ------------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Events that are not durably done, and gaps that are not passed."""
        left = [
            repr(life)
            for life in self.lives.all()
            if not (life.gone or self.durable((self.world.group(life.event.function), life.lies[0])).done(life.offset))
        ]
        return left or [
            f"{spec.name} {topic}/{number} is not at its end"
            for group, spec in self.world.groups.items()
            for topic, number in self.world.disk.partitions(self.world.followed(group))
            if (end := self.world.disk.journal((topic, number)).end)
            and self.durable((group, (topic, number))).watermark < end
        ]

    def __repr__(self) -> str:
        return f"<Witness: {self.lives!r}, {self.publications!r}>"


_NOTHING = Account()
