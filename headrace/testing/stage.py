"""The stage: a log in memory, virtual time, and the runtime, which begins again when it dies.

It runs no user code itself. `play` gives the jobs that are to be done one by one, and goes on when asked for the next:
so the same play serves callers with and without an event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from headrace.functions.errors import HeadraceError, TargetError
from headrace.runtime.ports import Append, Position, TopicSpec
from headrace.testing.arrivals import Arrivals
from headrace.testing.history import History
from headrace.testing.job import Job
from headrace.testing.life import Life, World
from headrace.testing.subject import Subject
from headrace.testing.writes import CrashPoint, Writes
from headrace.triggers.brokers.memory import Disk
from headrace.triggers.brokers.memory.owner import Owner
from headrace.triggers.brokers.refusal import refuse_delayed

_TOLERANCE_S = 1e-9
_PRELUDE_S = 1.0  # in which the runtime takes its partitions over and writes that down


class Stage:
    """See the module. `lives` says how often the runtime began."""

    def __init__(
        self,
        subject: Subject,
        *,
        partitions: int,
        seed: int,
        start_ms: int,
        timeouts: bool,
        transactions: bool,
        crash: CrashPoint | None = None,
    ) -> None:
        self.subject = subject
        self.lives = 0
        self.disk = Disk(transactions, cluster="test", default_partitions=partitions)
        self.arrivals = Arrivals(self.disk)
        self.history = History(subject.app, self.disk.cluster, lambda: self.now)
        self.writes = Writes(self.history, crash)
        dice = Random(seed)  # noqa: S311  (jitter, not secrets)
        self._world = World(subject, self.history, self.writes, dice, start_ms, timeouts)
        self._life: Life | None = None
        self._begin(-_PRELUDE_S, deque())
        try:
            self._take_over()
        except BaseException:
            self.drop()
            raise

    @property
    def life(self) -> Life:
        """The runtime as it is now. Raises `HeadraceError` if it was closed."""
        if self._life is None:
            raise HeadraceError("this TestApp is closed: make another one")
        return self._life

    @property
    def now(self) -> float:
        """The virtual seconds that have passed."""
        return self.life.loop.time()

    @property
    def now_ms(self) -> int:
        """The virtual time in milliseconds since 1970."""
        return self.life.clock.now_ms()

    def append(self, append: Append) -> Position:
        """Append a record, to a topic that is made if need be."""
        name = append.topic
        refuse_delayed([append], self.life.log.features)
        if name not in self.disk.topics:
            self.disk.ensure([self.subject.topics.get(name, TopicSpec(name))])
        (position,) = self.disk.apply([self.disk.placed(append)], self.now_ms)
        return position

    def play(self, seconds: float | None) -> Iterator[Job]:
        """What is to be done until that many seconds have passed, or, with None, until everything has ended.

        Raises `TargetError` if a function cannot go on.
        """
        end = None if seconds is None else self.now + seconds
        self.life.hurry()
        while True:
            self._turn()
            life = self.life
            if life.jobs:
                yield life.jobs[0]
                life.jobs.popleft()
            elif end is None and (life.is_idle or life.engine.blocked):
                self._check()
                return
            elif not self._pass_time(end):
                return

    def leave(self) -> Iterator[Job]:
        """What is to be done until the runtime has ended in order."""
        life, leaving = self.life, self.life.leave()
        while not (leaving.done() or life.is_dead):
            life.turn()
            if life.jobs:
                yield life.jobs[0]
                life.jobs.popleft()
            elif not leaving.done():
                self._pass_time(None)
        self._life = None
        life.loop.bury()
        if not life.is_dead:
            leaving.result()

    def drop(self) -> None:
        """End without running anything."""
        if self._life is not None:
            self._life.loop.drop()
            self._life = None

    @property
    def complaints(self) -> list[BaseException]:
        """What went wrong when setups were closed."""
        return self._world.complaints

    def _take_over(self) -> None:
        for _ in self.play(_PRELUDE_S):
            raise HeadraceError("user code is to run before there is an event: this is a bug of headrace")

    def _begin(self, now: float, jobs: deque[Job]) -> None:
        self.lives += 1
        self._life = Life(self._world, self.disk, now, jobs)

    def _turn(self) -> None:
        self.life.turn()
        while self.life.is_dead:
            self._begin_again()
            self.life.turn()

    def _begin_again(self) -> None:
        """What a crash leaves is the log; nobody is a member of any group any more."""
        life = self.life
        life.loop.bury()
        self.history.crashed()
        disk = self.disk
        owners = {claim: Owner(None, owner.epoch) for claim, owner in disk.owners.items()}
        self.disk = replace(disk, owners=owners, groups={}, watchers={})
        self.arrivals.watch(self.disk)
        self._begin(life.loop.time(), deque(life.farewells()))

    def _pass_time(self, end: float | None) -> bool:
        """Let time pass until something is due; False if that is not before the end."""
        loop = self.life.loop
        due = loop.due
        if end is not None and (due is None or loop.time() + due > end + _TOLERANCE_S):
            loop.pass_time(end - loop.time())
            return False
        if due is None:
            raise HeadraceError(f"nothing can ever go on: this is a bug of headrace. {self.life!r}")
        loop.pass_time(due)
        return True

    def _check(self) -> None:
        if blocked := self.life.engine.blocked:
            raise TargetError("; ".join(blocked))

    def __repr__(self) -> str:
        return f"<Stage, life {self.lives}: {self._life!r}>"
