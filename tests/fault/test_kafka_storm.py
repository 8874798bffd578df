"""Three runtimes of one group under fire: killed, frozen, without their workers, without their broker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fault.kafka_outside import Outside
from fault.kafka_storm import Force, Storm
from fault.soak_results import SOAK, keep
from kafkaserver import KafkaServer

FORCE = (
    Force(orders=20_000, runtime_kills=15, worker_kills=15, freezes=2, broker_restarts=2)
    if SOAK
    else Force(orders=2000)
)


def weather(storm: Storm, guarantee: str) -> dict[str, int]:
    """Go through it, and see that all was kept."""
    storm.blow()
    return storm.check(exactly_once=guarantee == "effectively-once")


GUARANTEES = ["at-least-once", "effectively-once"]


@pytest.mark.timeout(1800 if SOAK else 600)
@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_nothing_is_lost_keys_keep_their_order_and_starts_are_bounded(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str, record_property
) -> None:
    began = time.monotonic()
    with Outside(own_kafka.bootstrap) as outside:
        storm = Storm.over(own_kafka, outside, tmp_path / "storm", guarantee, FORCE)
        with storm.fleet:
            figures = weather(storm, guarantee)
    figures["seconds"] = round(time.monotonic() - began)
    for name, figure in figures.items():
        record_property(name, figure)
    print(f"\n{guarantee}: {figures}")
    keep("storm", guarantee=guarantee, orders=FORCE.orders, **figures)


# What is lost, done twice or out of order; not that the storm itself did not come to something.
BROKEN = "an outcome for each order|each outcome once|the order of|starts beyond attempts"
PLANTED = [
    ("commit_before_publish", "at-least-once"),
    ("plain_commit", "effectively-once"),
    ("epoch_unchecked", "effectively-once"),
    ("map_dropped", "effectively-once"),
]


@pytest.mark.skipif(not SOAK, reason="long: make soak")
@pytest.mark.parametrize(("defect", "guarantee"), PLANTED)
def test_a_planted_defect_is_found(own_kafka: KafkaServer, tmp_path: Path, defect: str, guarantee: str) -> None:
    with Outside(own_kafka.bootstrap) as outside:
        storm = Storm.over(own_kafka, outside, tmp_path / "storm", guarantee, Force(orders=2000), defect)
        with storm.fleet, pytest.raises(AssertionError, match=BROKEN) as found:
            weather(storm, guarantee)
    print(f"\n{defect}: {found.value}")
