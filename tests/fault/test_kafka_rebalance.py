"""What must not disturb a group: a slow handler, and a runtime that is replaced by another in order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from fault.kafka_fleet import KafkaFleet
from fault.kafka_notes import Notes
from fault.kafka_outside import Outside
from fault.kafka_watch import wait_for
from kafkaserver import KafkaServer

KEYS = 24

FUNCTIONS = """
@function("orders", emits={"emails": EmailSent}, timeout=60.0, guarantee="GUARANTEE")
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    time.sleep(5.0 if order.n == SLOW else 0.01)
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""

guarantees = pytest.mark.parametrize("guarantee", ["at-least-once", "effectively-once"])


def emit(outside: Outside, numbers: range) -> None:
    outside.emit("orders", [(f"k{n % KEYS}", {"n": n}) for n in numbers])


def assignments(fleet: KafkaFleet) -> list[list[list[str | int]]]:
    """What each runtime was assigned, and when there was another assignment, that too."""
    return [line["partitions"] for one in fleet.runtimes for line in one.lines if line["event"] == "assigned"]


def shared_out(fleet: KafkaFleet) -> bool:
    """Whether all six partitions are owned, some by each runtime."""
    last = [[line["partitions"] for line in one.lines if line["event"] == "assigned"][-1:] for one in fleet.runtimes]
    owned = [partition for (partitions,) in filter(None, last) for partition in partitions]
    return all(one and one[0] for one in last) and len(owned) == 6


@guarantees
def test_a_handler_longer_than_the_poll_interval_causes_no_rebalance_and_no_repeat(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str
) -> None:
    notes = Notes(tmp_path / "notes")
    source = notes.source(FUNCTIONS.replace("GUARANTEE", guarantee).replace("SLOW", "13"))
    with (
        Outside(own_kafka.bootstrap) as outside,
        KafkaFleet(tmp_path / "shop", own_kafka.url, source, HEADRACE_KAFKA__MAX_POLL_INTERVAL="1") as fleet,
    ):
        outside.make("orders", "emails", partitions=6)
        for _ in range(2):
            fleet.start()
        wait_for(lambda: shared_out(fleet), "the partitions to be shared out")
        before = assignments(fleet)
        emit(outside, range(100))
        watch = outside.watch("emails")
        emails = watch.wait(lambda seen: len(seen) >= 100, "an e-mail for each order")
        assert assignments(fleet) == before
        assert fleet.end() == [0, 0]
    assert Counter(email.data["n"] for email in emails) == Counter(range(100))
    assert notes.attempts() == Counter((n, 1) for n in range(100))


@guarantees
def test_a_rolling_restart_handles_nothing_twice(own_kafka: KafkaServer, tmp_path: Path, guarantee: str) -> None:
    notes = Notes(tmp_path / "notes")
    source = notes.source(FUNCTIONS.replace("GUARANTEE", guarantee).replace("SLOW", "None"))
    with Outside(own_kafka.bootstrap) as outside, KafkaFleet(tmp_path / "shop", own_kafka.url, source) as fleet:
        outside.make("orders", "emails", partitions=6)
        first, second = fleet.start(), fleet.start()
        emitted = 0
        for old in (first, second):
            emit(outside, range(emitted, emitted + 400))
            emitted += 400
            wait_for(lambda: len(notes.begun()) >= emitted - 300, "a stream in full flow")  # noqa: B023  (now)
            assert old.end() == 0, old.tail
            fleet.runtimes.remove(old)
            fleet.start().wait_until_serving()
        watch = outside.watch("emails")
        watch.wait(lambda seen: len({email.data["n"] for email in seen}) == emitted, "an e-mail for each order")
        assert fleet.end() == [0, 0]
        emails = watch.of()
    assert Counter(email.data["n"] for email in emails) == Counter(range(emitted))
    assert notes.attempts() == Counter((n, 1) for n in range(emitted))
