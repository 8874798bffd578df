"""Members of a group in several processes: one is killed, one is frozen past its session, one leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from kafkaclient import PATIENCE, Runtime, append, everything, fresh, polled, quick, until, values

from headrace.functions.errors import BrokerError, Fenced
from headrace.runtime.ports import Settlement, TopicSpec
from headrace.triggers.brokers.kafka import KafkaLog

MEMBER = Path(__file__).with_name("kafka_member.py")
SUPPORT = Path(__file__).parents[1] / "support"


class Slow(Runtime):
    """It takes its time with what it is assigned."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def assigned(self, partitions):
        await asyncio.sleep(self.seconds)
        await super().assigned(partitions)


class Held(Runtime):
    """It takes what it is assigned when its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.begun = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def assigned(self, partitions):
        self.begun.set()
        await self.gate.wait()
        await super().assigned(partitions)


def noted(call, calls):
    """The call, its arguments noted."""

    async def noting(*arguments):
        calls.append(arguments)
        return await call(*arguments)

    return noting


@pytest.fixture
async def names(log):
    group, topic, emails = fresh("app.f"), fresh("orders"), fresh("emails")
    await log.ensure([TopicSpec(topic, 4), TopicSpec(emails, 1)])
    return group, topic, emails


@pytest.fixture
async def child(kafka, names):
    """A member in another process, which owns all partitions and has settled on each."""
    arguments = [sys.executable, str(MEMBER), kafka.bootstrap, *names, "3"]
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe, env=environment)
    assert await said(process) == "assigned 4"
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


async def said(process) -> str:
    async with asyncio.timeout(PATIENCE):
        return (await process.stdout.readline()).decode().strip()


async def test_what_a_killed_member_had_is_taken_over_with_its_progress(log, names, child):
    group, topic, _ = names
    child.kill()
    runtime = Runtime()
    await runtime.join(log, group, topic)
    await until(lambda: len(runtime.owned) == 4, log)
    assert {(one.watermark, one.progress) for one in runtime.owned.values()} == {(0, b"by the child")}


async def test_two_members_share_and_one_goes_on_alone_when_the_other_is_killed(log, names, child):
    group, topic, _ = names
    runtime = Runtime()
    member = await runtime.join(log, group, topic)
    await until(lambda: len(runtime.owned) == 2, log)
    child.kill()
    await until(lambda: len(runtime.owned) == 4, log)
    await log.append([append(topic, b"%d" % n, partition=n) for n in range(4)])
    found = await polled(member, lambda found: len(values(found)) == 4)
    assert sorted(values(found)) == [b"0", b"1", b"2", b"3"]
    for partition, one in runtime.owned.items():
        await log.settle(Settlement(group, partition, one.epoch, 1, b"taken over"))


async def test_a_member_frozen_past_its_session_publishes_nothing_when_it_wakes(log, names, child):
    group, topic, emails = names
    child.send_signal(signal.SIGSTOP)
    runtime = Runtime()
    await runtime.join(log, group, topic)
    await until(lambda: len(runtime.owned) == 4, log)
    child.send_signal(signal.SIGCONT)
    answer = "BrokerUnavailable"
    while answer == "BrokerUnavailable":  # its connections may have ended meanwhile, and nobody can be asked at first
        child.stdin.write(b"settle\n")
        answer = await said(child)
    assert answer == "Fenced"
    assert await everything(log, (emails, 0)) == []
    assert b"again by the child" not in [lag.progress for lag in await log.lag(group)]


async def test_settling_in_the_name_of_a_generation_that_is_over_is_fenced_by_the_group(log, names):
    group, topic, _ = names
    runtime = Runtime()
    await runtime.join(log, group, topic)
    one = runtime.owned[topic, 0]
    claim = log._claims.find(Settlement(group, (topic, 0), one.epoch, 0, b""))
    claim.membership = (claim.membership[0] - 1, claim.membership[1])
    with pytest.raises(Fenced):
        await log.settle(Settlement(group, (topic, 0), one.epoch, 1, b""))
    await until(lambda: runtime.owned.get((topic, 0), one).epoch > one.epoch, log)  # it comes back by itself
    await log.settle(Settlement(group, (topic, 0), runtime.owned[topic, 0].epoch, 0, b"good"))


@pytest.mark.parametrize("task", ["fetcher", "coordination"])
async def test_a_consumer_that_died_is_made_anew(log, names, task):
    group, topic, _ = names
    runtime = Runtime()
    member = await runtime.join(log, group, topic)
    consumer = member.link.consumer
    ended = consumer._fetcher._fetch_task if task == "fetcher" else consumer._coordinator._coordination_task
    ended.cancel()
    await log.append([append(topic, b"x")])
    found = await polled(member, lambda found: bool(values(found)))
    assert values(found) == [b"x"]
    assert [what for what, _ in runtime.history] == ["assigned", "revoked", "assigned"]


async def test_what_was_done_beyond_the_end_of_a_cut_log_is_begun_anew(log, names):
    group, topic, _ = names
    first = Runtime()
    await log.append([append(topic, b"x")])
    member = await first.join(log, group, topic)
    await log.settle(Settlement(group, (topic, 0), first.owned[topic, 0].epoch, 1000, b"of another log"))
    await member.leave()
    second = Runtime()
    member = await second.join(log, group, topic)
    assert (second.owned[topic, 0].watermark, second.owned[topic, 0].progress) == (0, b"")
    assert values(await polled(member, lambda found: bool(values(found)))) == [b"x"]


async def test_a_takeover_that_takes_longer_than_a_session_keeps_the_membership(kafka, names):
    group, topic, _ = names
    log = await KafkaLog.open(quick(kafka.bootstrap, session_timeout_s=3.0))
    runtime = Slow(6.0)
    member = await runtime.join(log, group, topic)
    one = runtime.owned[topic, 0]
    await log.settle(Settlement(group, (topic, 0), one.epoch, 0, b"still the owner"))
    await log.append([append(topic, b"x")])
    assert values(await polled(member, lambda found: bool(values(found)))) == [b"x"]
    assert [what for what, _ in runtime.history] == ["assigned"]
    await log.close()


async def test_topics_that_change_during_a_takeover_are_followed_after_it(log, names):
    group, topic, emails = names
    runtime = Held()
    member = await runtime.join(log, group, topic)
    consumer = member.link.consumer
    runtime.gate.clear()
    runtime.begun.clear()
    first = asyncio.create_task(member.subscribe([topic]))
    await runtime.begun.wait()
    await log.topics([topic, emails])  # so that nothing is asked between the next line and the one behind it
    second = asyncio.create_task(member.subscribe([topic, emails]))
    await asyncio.sleep(0)
    runtime.gate.set()
    await asyncio.gather(first, second)
    await log.append([append(emails, b"x")])
    assert values(await polled(member, lambda found: bool(values(found)))) == [b"x"]
    assert member.link.consumer is consumer, "it was not lost by that"


@pytest.mark.parametrize(("exact", "watermark"), [(False, 0), (True, 1000)])
async def test_an_end_before_what_was_done_is_doubted_once(log, names, monkeypatch, exact, watermark):
    group, topic, _ = names
    first, second = Runtime(), Runtime()
    member = await first.join(log, group, topic)
    await log.settle(Settlement(group, (topic, 0), first.owned[topic, 0].epoch, 1000, b"of another log"))
    await member.leave()
    asked = []
    member = await second.join(log, group, topic, transactional=exact)
    monkeypatch.setattr(log._cluster, "bounds", noted(log._cluster.bounds, asked))
    await member.subscribe([topic])  # a rebalance
    assert second.owned[topic, 0].watermark == watermark
    assert [what for what, _ in second.history] == ["assigned", "revoked", "assigned"]
    assert len(asked) == 1


async def test_a_static_member_that_comes_back_within_its_session_disturbs_nobody(kafka, log, names):
    group, topic, _ = names
    other = Runtime()
    await other.join(log, group, topic)
    pod = quick(kafka.bootstrap, instance_id="pod-1")
    one = await KafkaLog.open(pod)
    first, second = Runtime(), Runtime()
    await first.join(one, group, topic)
    await until(lambda: len(other.owned) == len(first.owned) == 2, log)
    before = list(other.history)
    await one.close()
    again = await KafkaLog.open(pod)
    await second.join(again, group, topic)
    assert set(second.owned) == set(first.owned)
    assert other.history == before
    await again.close()


async def test_a_second_static_member_of_a_group_in_one_process_is_refused(kafka, names):
    group, topic, _ = names
    one = await KafkaLog.open(quick(kafka.bootstrap, instance_id="pod-1"))
    member = await Runtime().join(one, group, topic)
    with pytest.raises(BrokerError, match=f"a member of group '{group}' already, as instance 'pod-1'"):
        await Runtime().join(one, group, topic)
    await member.leave()
    await Runtime().join(one, group, topic)
    await one.close()


async def test_other_tools_metadata_is_no_progress(kafka, log, names):
    from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition

    group, topic, _ = names
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(0, "AQID-foreign")})
    await consumer.stop()
    runtime = Runtime()
    await runtime.join(log, group, topic)
    assert (runtime.owned[topic, 0].watermark, runtime.owned[topic, 0].progress) == (0, b"")
