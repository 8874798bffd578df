"""Several runtimes on one embedded log, under load: killed, frozen, joined, left, and held up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault.kafka_watch import wait_for
from fault.sqlite_fleet import SqliteFleet, check, owned, told

ORDERS = 2000
LONG = "session=600"  # nothing is taken over by the lease within the test's patience

FENCED = "another runtime took the partition over"
TAKEN = "partitions were not given up in time, and are taken"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SqliteFleet]:
    with SqliteFleet(tmp_path / "shop") as fleet:
        yield fleet


def test_a_killed_runtime_is_missed_long_before_its_session_is_over(fleet: SqliteFleet) -> None:
    one, two = fleet.start(LONG), fleet.start(LONG)
    fleet.wait_for_shares(one, two, sizes=[2, 2])
    fleet.emit(ORDERS)
    fleet.wait_until_begun(300)
    fleet.kill(one)
    fleet.wait_for_shares(two, sizes=[4])
    check(fleet.emails(ORDERS), ORDERS)
    assert fleet.end(two) == [0]


def test_where_no_death_is_noticed_the_lease_runs_out(fleet: SqliteFleet) -> None:
    one, two = (fleet.start("session=2", "mourning") for _ in range(2))
    fleet.wait_for_shares(one, two, sizes=[2, 2])
    fleet.emit(ORDERS)
    fleet.wait_until_begun(300)
    fleet.kill(one)
    fleet.wait_for_shares(two, sizes=[4])
    check(fleet.emails(ORDERS), ORDERS)
    assert fleet.end(two) == [0]


def test_a_runtime_frozen_past_its_session_is_fenced_when_it_wakes_and_comes_back(fleet: SqliteFleet) -> None:
    one, two = (fleet.start("session=2") for _ in range(2))
    fleet.wait_for_shares(one, two, sizes=[2, 2])
    fleet.emit(ORDERS)
    fleet.wait_until_begun(300)
    asleep = len(one.lines)
    fleet.freeze(one)
    wait_for(lambda: len(owned(two)) == 4, "the other to take over")
    one.send(signal.SIGCONT)
    one.wait_for_line(lambda line: line["event"] == FENCED, "that it was fenced", after=asleep)
    fleet.wait_for_shares(one, two, sizes=[2, 2])
    assert len(told(one, "assigned", after=asleep)) == 2
    check(fleet.emails(ORDERS), ORDERS)
    assert fleet.end(one, two) == [0, 0]


def test_of_a_third_that_joins_and_leaves_the_others_notice_only_what_moves(tmp_path: Path) -> None:
    with SqliteFleet(tmp_path / "shop", partitions=6) as fleet:
        one, two = fleet.start(LONG), fleet.start(LONG)
        fleet.wait_for_shares(one, two, sizes=[3, 3])
        before = {runtime: len(runtime.lines) for runtime in (one, two)}
        fleet.emit(ORDERS)
        fleet.wait_until_begun(300)
        third = fleet.start(LONG)
        fleet.wait_for_shares(one, two, third, sizes=[2, 2, 2])
        moved = owned(third)
        for runtime, line in before.items():
            assert len(told(runtime, "revoked", after=line)) == 1
            assert told(runtime, "assigned", after=line) == []
        fleet.wait_until_begun(1000)
        between = {runtime: len(runtime.lines) for runtime in (one, two)}
        assert fleet.end(third) == [0]
        fleet.wait_for_shares(one, two, sizes=[3, 3])
        gained = [told(runtime, "assigned", after=line) for runtime, line in between.items()]
        assert sorted(part for parts in gained for part in parts) == sorted(moved)
        assert [told(runtime, "revoked", after=line) for runtime, line in between.items()] == [[], []]
        check(fleet.emails(ORDERS), ORDERS)
        assert fleet.end(one, two) == [0, 0]


def test_what_a_runtime_does_not_give_up_in_time_is_taken_and_it_is_fenced(fleet: SqliteFleet, tmp_path: Path) -> None:
    gate = tmp_path / "let-go"
    one = fleet.start(LONG, "rebalance=2", f"stubborn={gate}")
    fleet.emit(ORDERS)
    fleet.wait_until_begun(100)
    two = fleet.start(LONG, "rebalance=2")  # it joins without the other's consent
    assert len(owned(two)) == 2
    two.wait_for_line(lambda line: line["event"] == TAKEN, "that it took them")
    gate.touch()
    one.wait_for_line(lambda line: line["event"] == FENCED, "that it was fenced")
    check(fleet.emails(ORDERS), ORDERS)
    fleet.wait_for_shares(one, two, sizes=[2, 2])
    assert fleet.end(one, two) == [0, 0]
