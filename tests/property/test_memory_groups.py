"""Groups under everything that can befall their members: nobody is told nonsense, and in the end all is shared."""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.functions.errors import BrokerUnavailable, Fenced
from headrace.runtime.ports import Settlement, TopicSpec
from headrace.triggers.brokers.memory import Crash, Disk, MemoryLog, VirtualClock

GROUP = "app.f"
PARTITIONS = [("a", n) for n in range(5)]
PICK = st.integers(0, 3)


class Runtime:
    """A client, its membership, and what it was told. `gate` closed: its handlers take their time."""

    def __init__(self, disk, clock):
        self.log = MemoryLog(disk, clock)
        self.view = {}
        self.told = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.inside = False
        self.blameless = True  # never frozen, stalled, put out
        self.gone = False  # killed, or has left
        self.joining = asyncio.get_running_loop().create_task(self.log.join(GROUP, ["a"], self))

    @property
    def member(self):
        return self.joining.result() if self.joining.done() else None

    async def assigned(self, partitions):
        async with _Alone(self):
            for one in partitions:
                assert one.partition not in self.view
                self.view[one.partition] = one.epoch

    async def revoked(self, partitions):
        async with _Alone(self):
            for partition in partitions:
                del self.view[partition]


class _Alone:
    def __init__(self, runtime):
        self.runtime = runtime

    async def __aenter__(self):
        assert not self.runtime.inside, "called twice at a time"
        assert self.runtime.log.state in {"open", "frozen"}, "the dead are told nothing"
        self.runtime.inside = True
        await self.runtime.gate.wait()

    async def __aexit__(self, *_):
        self.runtime.inside = False


class Groups(RuleBasedStateMachine):
    """Up to four runtimes alive at a time on one log."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.failures = []
        self.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.disk, self.clock = Disk(), VirtualClock()
        self.disk.ensure([TopicSpec("a", len(PARTITIONS))])
        self.runtimes = []
        self.leaving = []

    def _run(self, act=lambda: None):
        async def acting():
            result = act()
            for _ in range(80):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(acting())

    def _start(self, work):
        return self._run(lambda: self.loop.create_task(work))

    def _pass(self, seconds):
        until = self.clock.monotonic() + seconds
        while (due := self.clock.next_due()) is not None and due <= until:
            step = due - self.clock.monotonic()
            self._run(partial(self.clock.advance, step))
        self._run(lambda: self.clock.advance(until - self.clock.monotonic()))

    @property
    def alive(self):
        return [one for one in self.runtimes if not one.gone]

    def _one(self, pick):
        return self.alive[pick % len(self.alive)]

    @precondition(lambda self: len(self.alive) < 4)
    @rule()
    def join(self):
        self.runtimes.append(self._run(lambda: Runtime(self.disk, self.clock)))

    @precondition(lambda self: self.alive)
    @rule(pick=PICK, at_once=st.booleans())
    def kill(self, pick, at_once):
        one = self._one(pick)
        one.gone = True
        self._run(lambda: one.log.kill(at_once=at_once))

    @precondition(lambda self: self.alive)
    @rule(pick=PICK)
    def freeze(self, pick):
        self._one(pick).blameless = False
        self._run(self._one(pick).log.freeze)

    @precondition(lambda self: self.alive)
    @rule(pick=PICK)
    def thaw(self, pick):
        self._run(self._one(pick).log.thaw)

    @precondition(lambda self: self.alive)
    @rule(pick=PICK)
    def expire(self, pick):
        self._one(pick).blameless = False
        self._run(self._one(pick).log.expire)

    @precondition(lambda self: self.alive)
    @rule(pick=PICK, stalled=st.booleans())
    def stall(self, pick, stalled):
        one = self._one(pick)
        if stalled:
            one.blameless = False
        self._run(one.gate.clear if stalled else one.gate.set)

    @rule(seconds=st.sampled_from([1.0, 44.0, 45.0, 60.0]))
    def wait(self, seconds):
        self._pass(seconds)

    @precondition(lambda self: self.alive)
    @rule(pick=PICK, partition=st.sampled_from(PARTITIONS))
    def move(self, pick, partition):
        log = self._one(pick).log
        names = log.members(GROUP)
        self._run(lambda: log.rebalance(GROUP, {partition: names[pick % len(names)]} if names else {}))

    @rule(partition=st.sampled_from(PARTITIONS))
    def bounce(self, partition):
        if self.alive:
            log = self.alive[0].log
            self._run(lambda: log.rebalance(GROUP, bounced=[partition]))

    @precondition(lambda self: any(one.member is not None for one in self.alive))
    @rule(pick=PICK)
    def leave(self, pick):
        joined = [one for one in self.alive if one.member is not None]
        one = joined[pick % len(joined)]
        one.gone = True
        self.leaving.append(self._start(one.member.leave()))

    @precondition(lambda self: self.alive)
    @rule(pick=PICK)
    def settle(self, pick):
        """What a runtime settles counts if it still owns the partition in that epoch, and never otherwise."""
        one = self._one(pick)
        for partition, epoch in list(one.view.items()):
            owner = self.disk.owner(GROUP, partition)
            ours = owner.epoch == epoch and (owner.member or "").startswith(f"{one.log.name}-")
            value = b"%d" % self.disk.version
            task = self._start(one.log.settle(Settlement(GROUP, partition, epoch, 0, value)))
            answered = task.done()
            if answered:
                assert ours == (task.exception() is None)
                assert ours or isinstance(task.exception(), Fenced)
            else:
                task.cancel()
                self._run()
            assert (self.disk.progress.get((GROUP, partition), (0, b""))[1] == value) == (ours and answered)

    @invariant()
    def the_blameless_own_what_they_think_they_own(self):
        for one in self.alive:
            for partition, epoch in one.view.items() if one.blameless else ():
                owner = self.disk.owner(GROUP, partition)
                assert (owner.epoch, owner.member) == (epoch, one.member.id if one.member else owner.member)

    @invariant()
    def nothing_fails_unseen(self):
        assert self.failures == []

    def teardown(self):
        for one in self.alive:
            self._run(one.log.thaw)
            self._run(one.gate.set)
        for one in self.runtimes:
            one.gate.set()
            if one.gone:
                self._run(one.log.thaw)
        for _ in range(3):
            self._pass(100.0)
        self._end_is_shared()
        self._run(lambda: [one.log.kill(at_once=True) for one in self.runtimes])
        tasks = [one.joining for one in self.runtimes] + self.leaving
        for task in tasks:
            assert task.done()
            assert task.cancelled() or isinstance(task.exception(), (type(None), Crash, BrokerUnavailable))
        self.loop.close()
        self.nothing_fails_unseen()

    def _end_is_shared(self):
        owned = sorted(partition for one in self.alive for partition in one.view)
        assert owned == (PARTITIONS if self.alive else [])
        for one in self.alive:
            assert one.member is not None
            for partition, epoch in one.view.items():
                assert self.disk.owner(GROUP, partition) == (one.member.id, epoch)


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=50, stateful_step_count=30)
