"""A rebalance while something is being taken: what was stopped gives nothing, and what came back loses nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition, errors

from headrace.runtime.ports import Bounds
from headrace.triggers.brokers.kafka.intake import Intake

ONE, TWO = ("orders", 0), ("orders", 1)
BOUNDS = {ONE: Bounds(0, 9), TWO: Bounds(0, 9)}


class Consumer:
    """aiokafka's, as far as an intake uses it; `meanwhile` happens during its first fetch."""

    def __init__(self, meanwhile) -> None:
        self._subscription = SimpleNamespace()
        self._fetcher = SimpleNamespace(_records=[TopicPartition(*ONE), TopicPartition(*TWO)])
        self._meanwhile = [meanwhile]
        self.positions = {}

    def assignment(self):
        return set(self.positions)

    def seek(self, where, offset):
        self.positions[where] = offset

    def resume(self, where):
        pass

    async def getmany(self, where, **_):
        for happen in self._meanwhile:
            self._meanwhile = []
            happen()
        if where in self.positions:
            self.positions[where] += 1
        return {}

    async def position(self, where):
        if where not in self.positions:
            raise errors.IllegalStateError(f"{where} is not assigned")
        return self.positions[where]


@pytest.fixture
def intake():
    made = Intake("app.f", None)
    made.begin(BOUNDS)
    return made


def serve(intake, meanwhile):
    intake.consumer = consumer = Consumer(meanwhile)
    consumer.positions = dict.fromkeys([TopicPartition(*ONE), TopicPartition(*TWO)], 0)
    for partition in (ONE, TWO):
        intake.seek(partition, 5)
    return consumer


async def test_what_a_rebalance_stops_while_another_partition_is_taken_gives_nothing(intake):
    def revoked():
        intake.stop()
        consumer.positions.clear()

    consumer = serve(intake, revoked)
    assert await intake.take(10) == []


async def test_what_is_given_anew_and_not_sought_yet_gives_nothing(intake):
    def moved():
        intake.stop()
        intake.begin(BOUNDS)
        consumer.positions = dict.fromkeys(consumer.positions, 0)

    consumer = serve(intake, moved)
    consumer._fetcher._records = [TopicPartition(*ONE)]
    assert await intake.take(10) == []


async def test_what_is_given_anew_and_sought_loses_nothing(intake):
    def moved():
        intake.stop()
        intake.begin(BOUNDS)
        intake.seek(ONE, 3)

    consumer = serve(intake, moved)
    consumer._fetcher._records = [TopicPartition(*ONE)]
    taken = {one.partition: one.next for one in await intake.take(10)}
    assert consumer.positions[TopicPartition(*ONE)] == taken.get(ONE, 3)
