"""The broker is not there: at the start, for a while, for good. `headrace run` says so, waits, and ends when told."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
from fault.fleet import Runtime
from fault.kafka_fleet import KafkaFleet
from fault.kafka_notes import Gate, Notes
from fault.kafka_outside import Outside
from fault.kafka_watch import wait_for
from fault.soak_results import SOAK, keep
from kafkaserver import KafkaServer

ORDERS = 60_000 if SOAK else 6_000
OUTAGE_S = 60.0 if SOAK else 2.0
MOST_GROWTH = 150 << 20  # bytes; what may be held is bounded, and this is much more

FUNCTIONS = """
@function("orders", emits={"emails": EmailSent}, timeout=60.0, guarantee="GUARANTEE")
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    if order.n == 13:
        wait_at("GATE")
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""

PAIRS = [("killed", "effectively-once"), ("frozen", "at-least-once")]
MORE_PAIRS = [("killed", "at-least-once"), ("frozen", "effectively-once")]
outages = pytest.mark.parametrize(("outage", "guarantee"), PAIRS + MORE_PAIRS if SOAK else PAIRS)


class Shop:
    """One function, whose 13th order waits at a gate."""

    def __init__(self, folder: Path, guarantee: str) -> None:
        self.gate = Gate(folder / "gate")
        self.notes = Notes(folder / "notes")
        self.source = self.notes.source(FUNCTIONS.replace("GUARANTEE", guarantee).replace("GATE", str(self.gate.path)))


def orders(*numbers: int) -> list[tuple[str, dict[str, int]]]:
    return [(f"k{n % 50}", {"n": n}) for n in numbers]


def wait_until_it_waits(runtime: Runtime, server: KafkaServer) -> None:
    runtime.wait_for_line(
        lambda line: line["event"] == "waiting for the broker" and server.bootstrap in line["reason"], "that it waits"
    )


def test_a_broker_that_is_down_at_the_start_is_waited_for_and_named(own_kafka: KafkaServer, tmp_path: Path) -> None:
    shop = Shop(tmp_path, "at-least-once")
    with Outside(own_kafka.bootstrap) as outside, KafkaFleet(tmp_path / "shop", own_kafka.url, shop.source) as fleet:
        outside.make("orders", "emails", partitions=6)
        outside.emit("orders", orders(1))
        own_kafka.stop()
        first, second = fleet.start(), fleet.start()
        wait_until_it_waits(first, own_kafka)
        wait_until_it_waits(second, own_kafka)
        assert second.end() == 0, "told to end while it waits, it ends"
        own_kafka.start()
        first.wait_until_serving()
        (email,) = outside.watch("emails").wait(bool, "the e-mail")
        assert email.data == {"n": 1, "attempt": 1}
        assert first.end() == 0


@outages
def test_an_outage_in_the_middle_is_survived_with_bounded_memory(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str, outage: str
) -> None:
    shop = Shop(tmp_path, guarantee)
    with Outside(own_kafka.bootstrap) as outside:
        outside.make("orders", "emails", "shop.confirm.dlt", partitions=6)
        watch = outside.watch("emails")
        with KafkaFleet(tmp_path / "shop", own_kafka.url, shop.source, "brisk") as fleet:
            runtime = fleet.start()
            runtime.wait_until_serving()
            outside.emit("orders", orders(*range(ORDERS)))
            wait_for(lambda: 13 in shop.notes.begun(), "an event in flight")
            before, memory = len(runtime.lines), runtime.memory_bytes
            own_kafka.freeze() if outage == "frozen" else own_kafka.kill()
            shop.gate.open()
            runtime.wait_for_state("retrying", own_kafka.bootstrap, after=before)
            most = sample_memory(runtime, OUTAGE_S)
            own_kafka.thaw() if outage == "frozen" else own_kafka.start()
            watch.wait(lambda seen: len({one.data["n"] for one in seen}) == ORDERS, "an e-mail for each order")
            assert fleet.end() == [0]
        figures = {"orders": ORDERS, "outage_s": OUTAGE_S, "grown_mb": round((most - memory) / 1e6, 1)}
        keep(f"broker {outage}", guarantee=guarantee, **figures)
        assert most - memory < MOST_GROWTH
        sent = Counter(email.data["n"] for email in watch.of())
        assert set(sent) == set(range(ORDERS))
        if guarantee == "effectively-once":
            assert set(sent.values()) == {1}
        assert {attempt for _, attempt in shop.notes.attempts()} == {1}, "nothing is charged for an outage"


def sample_memory(runtime: Runtime, seconds: float) -> int:
    """The most that the runtime has had in memory, looked at ten times in these seconds."""
    most = 0
    for _ in range(10):
        with pytest.raises(AssertionError):
            wait_for(lambda: runtime.ended, "its end, which is not to come", seconds / 10)
        most = max(most, runtime.memory_bytes)
    return most


@outages
def test_a_runtime_whose_broker_is_gone_for_good_ends_within_its_budget_when_told_to(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str, outage: str
) -> None:
    shop = Shop(tmp_path, guarantee)
    with (
        Outside(own_kafka.bootstrap) as outside,
        KafkaFleet(tmp_path / "shop", own_kafka.url, shop.source, "brisk", HEADRACE_DRAIN="2") as fleet,
    ):
        outside.make("orders", "emails", "shop.confirm.dlt", partitions=6)
        runtime = fleet.start()
        runtime.wait_until_serving()
        outside.emit("orders", orders(13))
        wait_for(lambda: 13 in shop.notes.begun(), "an event in flight")
        before = len(runtime.lines)
        own_kafka.freeze() if outage == "frozen" else own_kafka.kill()
        shop.gate.open()
        runtime.wait_for_state("retrying", own_kafka.bootstrap, after=before)
        runtime.send(signal.SIGTERM)
        # 2 s for what runs, as much for settling, some for telling a broker that does not answer; the rest is slack.
        assert runtime.process.wait(90) == 0, runtime.tail
        if outage == "frozen":
            own_kafka.thaw()
