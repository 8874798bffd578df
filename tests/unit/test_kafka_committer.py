"""One commit under way at a time, the newest of each partition, and each caller told of its own."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import errors

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.triggers.brokers.kafka.calls import Calls
from headrace.triggers.brokers.kafka.committer import Committer, NotOwner
from headrace.triggers.brokers.kafka.mark import Mark

ME = (3, "member-1")
ONE, TWO = ("orders", 0), ("orders", 1)


class Group:
    """A coordinator that answers when it is let, and notes what it was sent."""

    def __init__(self) -> None:
        self.sent: list[dict] = []
        self.under_way = 0
        self.most_under_way = 0
        self.answers: list = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, membership, marks):
        assert membership == ME
        self.asked.set()
        self.sent.append({partition: mark.watermark for partition, mark in marks.items()})
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return {partition: answer.get(partition) for partition in marks}


@pytest.fixture
async def group():
    return Group()


@pytest.fixture
async def committer(group):
    return Committer("app.f", Calls("localhost:9092", 5.0), group.send)


async def test_what_comes_while_one_is_under_way_goes_together_the_newest_of_each_partition(committer, group):
    group.gate.clear()
    first = asyncio.create_task(committer.commit(ME, ONE, Mark(1, "")))
    await group.asked.wait()
    later = [asyncio.create_task(committer.commit(ME, ONE, Mark(n, ""))) for n in range(2, 6)]
    later += [asyncio.create_task(committer.commit(ME, TWO, Mark(9, "")))]
    await asyncio.sleep(0)
    assert not first.done()
    group.gate.set()
    await asyncio.gather(first, *later)
    assert group.sent == [{ONE: 1}, {ONE: 5, TWO: 9}]
    assert group.most_under_way == 1


async def test_a_refusal_is_told_to_its_partition_alone(committer, group):
    group.answers = [{ONE: errors.UnknownMemberIdError(), TWO: None}]
    one, two = await asyncio.gather(
        committer.commit(ME, ONE, Mark(1, "")), committer.commit(ME, TWO, Mark(1, "")), return_exceptions=True
    )
    assert isinstance(one, NotOwner)
    assert two is None


async def test_what_may_pass_is_tried_again(committer, group):
    group.answers = [errors.NodeNotReadyError(), {ONE: errors.GroupLoadInProgressError()}, {ONE: None}]
    await committer.commit(ME, ONE, Mark(4, ""))
    assert group.sent == [{ONE: 4}] * 3


async def test_what_does_not_pass_is_told(committer, group):
    group.answers = [{ONE: errors.GroupAuthorizationFailedError("app.f")}]
    with pytest.raises(BrokerError, match=r"committing offsets of group 'app.f'.*does not allow it"):
        await committer.commit(ME, ONE, Mark(4, ""))


async def test_closing_ends_a_commit_that_hangs(group):
    calls = Calls("localhost:9092", 60.0)
    committer = Committer("app.f", calls, group.send)
    group.gate.clear()
    hanging = asyncio.create_task(committer.commit(ME, ONE, Mark(1, "")))
    await group.asked.wait()
    calls.close()
    await committer.close()
    with pytest.raises(BrokerUnavailable, match="is closed"):
        await hanging
