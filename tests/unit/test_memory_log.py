"""What can be done to a client of a log in memory: faults at every step, death, frost, rebalances at will."""

from __future__ import annotations

import asyncio

import pytest

from headrace.functions.errors import BrokerError, BrokerUnavailable, Fenced
from headrace.runtime.ports import Append, Settlement, TopicSpec
from headrace.triggers.brokers.memory import Crash, Disk, Faults, MemoryLog, VirtualClock

A0, A1 = ("a", 0), ("a", 1)
GROUP = "app.f"


class Script(Faults):
    """Does at the n-th step of its kind what it is told, and notes all steps."""

    def __init__(self, before=None, after=None, **answers):
        self.plans = {"before": dict(before or {}), "after": dict(after or {})}
        self.answers = answers
        self.steps = []

    def before(self, step):
        self.steps.append(step)
        self._do("before", step)

    def after(self, step):
        self._do("after", step)

    def _do(self, when, step):
        if (error := self.plans[when].pop(step.action, None)) is not None:
            raise error

    def delay(self, step):
        return self.answers.get("delay", 0.0)

    def take(self, step, available):
        return self.answers.get("take", available)

    def rewind(self, step):
        return self.answers.get("rewind", 0)

    def rebalance(self, step):
        return self.answers.pop("rebalance", None) if step.action == "settle" else None


class View:
    """What a runtime believes it owns."""

    def __init__(self):
        self.epochs, self.member, self.calls = {}, None, []

    async def assigned(self, partitions):
        self.calls.append(("assigned", [one.partition for one in partitions]))
        self.epochs.update({one.partition: one.epoch for one in partitions})

    async def revoked(self, partitions):
        self.calls.append(("revoked", list(partitions)))
        for partition in partitions:
            self.epochs.pop(partition, None)

    async def join(self, log):
        self.member = await log.join(GROUP, ["a"], self)
        for partition in self.epochs:
            self.member.seek(partition, 0)
        return self


async def turns(count=60):
    for _ in range(count):
        await asyncio.sleep(0)


def emit(value, topic="b"):
    return Append(topic, 0, 0, None, value, b"")


def values(disk, partition):
    return [record.value for record in disk.journal(partition).records]


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture(params=[True, False], ids=["transactional", "at-least-once"])
def any_disk(request):
    return prepared(Disk(transactional=request.param))


@pytest.fixture
def disk():
    return prepared(Disk())


def prepared(disk):
    disk.ensure([TopicSpec("a", 2), TopicSpec("b", 1), TopicSpec("c", 1)])
    return disk


async def test_a_lost_acknowledgement_leaves_the_write_done(any_disk, clock):
    log = MemoryLog(any_disk, clock, Script(after={"append": BrokerUnavailable("lost")}))
    with pytest.raises(BrokerUnavailable, match="lost"):
        await log.append([emit(b"x")])
    assert values(any_disk, ("b", 0)) == [b"x"]


async def test_a_write_that_fails_is_not_done(any_disk, clock):
    log = MemoryLog(any_disk, clock, Script(before={"append": BrokerUnavailable("down")}))
    with pytest.raises(BrokerUnavailable, match="down"):
        await log.append([emit(b"x")])
    assert values(any_disk, ("b", 0)) == []
    await log.append([emit(b"x")])
    assert values(any_disk, ("b", 0)) == [b"x"]


async def test_an_acknowledgement_may_come_late_and_later_calls_do_not_wait_for_it(disk, clock):
    log = MemoryLog(disk, clock, Script(delay=5.0))
    calls = [asyncio.create_task(log.append([emit(b"%d" % n)])) for n in range(2)]
    await turns()
    assert values(disk, ("b", 0)) == [b"0", b"1"]
    assert not any(call.done() for call in calls)
    clock.advance(5.0)
    assert [[position.offset for position in await call] for call in calls] == [[0], [1]]


async def test_a_settlement_is_one_write_on_a_transactional_disk(disk, clock):
    faults = Script(after={"settle": Crash()})
    log = MemoryLog(disk, clock, faults)
    view = await View().join(log)
    with pytest.raises(Crash):
        await log.settle(Settlement(GROUP, A0, view.epochs[A0], 1, b"p", [emit(b"x"), emit(b"y", "c")]))
    assert (values(disk, ("b", 0)), values(disk, ("c", 0)), disk.progress[GROUP, A0]) == ([b"x"], [b"y"], (1, b"p"))
    assert [(step.action, step.records) for step in faults.steps] == [("settle", 2)]


@pytest.mark.parametrize(
    ("faults", "written"),
    [
        (Script(before={"append": Crash()}), ([], [], None)),
        (Script(after={"append": Crash()}), ([b"x"], [], None)),
        (Script(before={"progress": Crash()}), ([b"x"], [b"y"], None)),
        (Script(after={"progress": Crash()}), ([b"x"], [b"y"], (1, b"p"))),
    ],
)
async def test_a_crash_may_come_between_any_two_writes_of_an_at_least_once_disk(faults, written, clock):
    disk = prepared(Disk(transactional=False))
    log = MemoryLog(disk, clock, faults)
    view = await View().join(log)
    with pytest.raises(Crash):
        await log.settle(Settlement(GROUP, A0, view.epochs[A0], 1, b"p", [emit(b"x"), emit(b"y", "c")]))
    found = (values(disk, ("b", 0)), values(disk, ("c", 0)), disk.progress.get((GROUP, A0)))
    assert found == written
    with pytest.raises(Crash, match="was killed"):
        await log.append([emit(b"z")])


async def test_a_settlement_may_lose_its_partition_between_its_writes(clock):
    disk = prepared(Disk(transactional=False))
    log = MemoryLog(disk, clock, Script(delay=1.0))
    view = await View().join(log)
    settling = asyncio.create_task(log.settle(Settlement(GROUP, A0, view.epochs[A0], 1, b"p", [emit(b"x")])))
    await turns()
    log.expire()
    clock.advance(1.0)
    with pytest.raises(Fenced):
        await settling
    assert values(disk, ("b", 0)) == [b"x"]
    assert (GROUP, A0) not in disk.progress


async def test_a_poll_may_get_few_and_may_get_them_again(disk, clock):
    await MemoryLog(disk, clock).append([Append("a", 0, 0, None, b"%d" % n, b"") for n in range(4)])
    few = await View().join(MemoryLog(disk, clock, Script(take=1)))
    assert [record.offset for _ in range(3) for fetched in await few.member.poll(9) for record in fetched.records] == [
        0,
        1,
        2,
    ]
    await few.member.leave()
    again = await View().join(MemoryLog(disk, clock, Script(take=2, rewind=1)))
    offsets = [[record.offset for fetched in await again.member.poll(9) for record in fetched.records] for _ in "123"]
    assert offsets == [[0, 1], [1, 2], [2, 3]]


async def test_a_failing_fetch_loses_nothing(disk, clock):
    log = MemoryLog(disk, clock, Script(before={"fetch": BrokerUnavailable("down")}))
    await log.append([emit(b"x", "a")])
    view = await View().join(log)
    with pytest.raises(BrokerUnavailable):
        await view.member.poll(9)
    assert [len(fetched.records) for fetched in await view.member.poll(9)] == [1]


async def test_waiting_takes_virtual_time_only(disk, clock):
    log = MemoryLog(disk, clock, idle_s=3600.0)
    view = await View().join(log)
    polling, waiting = asyncio.create_task(view.member.poll(9)), asyncio.create_task(log.changed(7200.0))
    await turns()
    clock.advance(3599.0)
    await turns()
    assert not polling.done()
    clock.advance(1.0)
    assert list(await polling) == []
    assert not waiting.done()
    clock.advance(3600.0)
    await waiting
    assert clock.next_due() is None


async def test_gaps_are_passed_over(disk, clock):
    log = MemoryLog(disk, clock)
    view = await View().join(log)
    await log.append([Append("a", 0, 0, None, b"%d" % n, b"") for n in range(6)])
    journal = disk.journal(A0)
    journal.drop({0, 3, 5})
    journal.skip(2)
    (fetched,) = await view.member.poll(9)
    assert ([record.offset for record in fetched.records], fetched.next) == ([1, 2, 4], 8)
    journal.trim(4)
    fetched = await log.read(A0, 0, 9)
    assert ([record.offset for record in fetched.records], fetched.next, journal.bytes) == ([4], 8, 1)


async def test_what_a_killed_client_had_is_free_when_its_session_is_over(disk, clock):
    killed, kills = MemoryLog(disk, clock, on_kill=lambda: kills.append(clock.monotonic())), []
    one = await View().join(killed)
    polling = asyncio.create_task(one.member.poll(9))
    await turns()
    killed.kill()
    joining = asyncio.create_task(View().join(MemoryLog(disk, clock)))
    await turns()
    clock.advance(44.9)
    await turns()
    assert not joining.done()
    clock.advance(0.1)
    two = await joining
    await turns()
    assert sorted(two.epochs) == [A0, A1]
    assert one.calls == [("assigned", [A0, A1])]  # the dead are told nothing
    assert isinstance(polling.exception(), Crash)
    assert kills == [0.0]


async def test_a_killed_client_may_be_noticed_at_once(disk, clock):
    killed = MemoryLog(disk, clock)
    await View().join(killed)
    killed.kill(at_once=True)
    assert sorted((await View().join(MemoryLog(disk, clock))).epochs) == [A0, A1]


async def test_a_client_that_dies_while_it_lets_go_keeps_its_partitions_until_its_session_is_over(disk, clock):
    class Dying(View):
        async def revoked(self, partitions):
            killed.kill()
            await super().revoked(partitions)
            await killed.append([emit(b"from the dead")])

    killed = MemoryLog(disk, clock)
    await Dying().join(killed)
    joining = asyncio.create_task(View().join(MemoryLog(disk, clock)))
    await turns()
    assert not joining.done()
    assert disk.owner(GROUP, A0).member == "client1-1"
    clock.advance(45.0)
    two = await joining
    await turns()
    assert sorted(two.epochs) == [A0, A1]
    assert values(disk, ("b", 0)) == []


async def test_a_zombie_is_fenced_told_so_and_comes_back(disk, clock):
    zombie, other = MemoryLog(disk, clock), MemoryLog(disk, clock)
    one = await View().join(zombie)
    stale = dict(one.epochs)
    zombie.freeze()
    late = asyncio.create_task(zombie.settle(Settlement(GROUP, A0, stale[A0], 1, b"late", [emit(b"x")])))
    joining = asyncio.create_task(View().join(other))
    await turns()
    clock.advance(45.0)
    two = await joining
    await turns()
    assert sorted(two.epochs) == [A0, A1]
    assert not late.done()
    zombie.thaw()
    with pytest.raises(Fenced):
        await late
    await turns()
    assert one.calls[1] == ("revoked", [A0, A1])
    assert sorted([*one.epochs, *two.epochs]) == [A0, A1]
    assert len(one.epochs) == 1
    (partition,) = one.epochs
    assert one.epochs[partition] > stale[partition] + 1
    await zombie.settle(Settlement(GROUP, partition, one.epochs[partition], 1, b""))
    assert values(disk, ("b", 0)) == []


async def test_a_short_frost_costs_nothing(disk, clock):
    log = MemoryLog(disk, clock)
    view = await View().join(log)
    log.freeze()
    settling = asyncio.create_task(log.settle(Settlement(GROUP, A0, view.epochs[A0], 1, b"p")))
    clock.advance(44.0)
    await turns()
    assert (GROUP, A0) not in disk.progress
    log.thaw()
    await settling
    clock.advance(100.0)
    await turns()
    assert view.calls == [("assigned", [A0, A1])]


async def test_calls_made_in_the_frost_keep_their_order(disk, clock):
    log = MemoryLog(disk, clock)
    log.freeze()
    calls = [asyncio.create_task(log.append([emit(b"%d" % n)])) for n in range(3)]
    await turns()
    log.thaw()
    calls.append(asyncio.create_task(log.append([emit(b"3")])))
    await asyncio.gather(*calls)
    assert values(disk, ("b", 0)) == [b"0", b"1", b"2", b"3"]


async def test_a_partition_can_be_moved_at_will_and_taken_from_one_who_keeps_it(disk, clock):
    one, two = await View().join(MemoryLog(disk, clock)), await View().join(log := MemoryLog(disk, clock))
    log.rebalance(GROUP, {A0: log.members(GROUP)[1], A1: log.members(GROUP)[0]})
    await turns()
    assert (list(one.epochs), list(two.epochs)) == ([A1], [A0])
    before = dict(one.epochs)
    log.rebalance(GROUP, bounced=[A1])
    await turns()
    assert one.calls[-2:] == [("revoked", [A1]), ("assigned", [A1])]
    assert one.epochs[A1] == before[A1] + 1


async def test_faults_may_rebalance_at_any_step(disk, clock):
    one = await View().join(log := MemoryLog(disk, clock, Script(rebalance={A0: "client2-2", A1: "client2-2"})))
    two = await View().join(MemoryLog(disk, clock))
    (kept,) = one.epochs
    await log.settle(Settlement(GROUP, kept, one.epochs[kept], 1, b"p"))
    await turns()
    assert (one.epochs, sorted(two.epochs)) == ({}, [A0, A1])
    assert disk.progress[GROUP, kept] == (1, b"p")


async def test_a_member_whose_handler_takes_too_long_is_put_out_and_comes_back(disk, clock):
    class Slow(View):
        done = asyncio.Event()

        async def revoked(self, partitions):
            await super().revoked(partitions)
            await self.done.wait()

    one = await Slow().join(MemoryLog(disk, clock))
    joining = asyncio.create_task(View().join(MemoryLog(disk, clock)))
    await turns()
    clock.advance(60.0)
    two = await joining
    await turns()
    assert sorted(two.epochs) == [A0, A1]
    Slow.done.set()
    await turns()
    assert len(one.epochs) == len(two.epochs) == 1


async def test_a_handler_that_fails_puts_its_member_out_and_the_poll_says_so(disk, clock):
    class Failing(View):
        async def revoked(self, partitions):
            raise RuntimeError("no way back")

    one = await Failing().join(MemoryLog(disk, clock))
    two = await View().join(MemoryLog(disk, clock))
    await turns()
    assert sorted(two.epochs) == [A0, A1]
    with pytest.raises(BrokerError, match=r"no way back.*join again"):
        await one.member.poll(1)


async def test_equal_calls_have_equal_results():
    async def story():
        disk, clock = prepared(Disk()), VirtualClock()
        logs = [MemoryLog(disk, clock) for _ in range(3)]
        views = [View() for _ in logs]
        await asyncio.gather(*(view.join(log) for view, log in zip(views, logs, strict=True)))
        await asyncio.gather(*(log.append([emit(b"%d" % n)]) for n, log in enumerate(logs)))
        logs[0].kill()
        clock.advance(60.0)
        await turns()
        return [view.calls for view in views], values(disk, ("b", 0)), disk.owners, repr(disk)

    assert await story() == await story()
