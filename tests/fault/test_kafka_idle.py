"""A runtime that has nothing to do but a long past: what it holds, and what it costs. Figures: `make soak`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fault.fleet import Runtime
from fault.kafka_fleet import KafkaFleet
from fault.kafka_outside import Outside
from fault.kafka_watch import wait_for
from fault.soak_results import SOAK, keep
from kafkaserver import KafkaServer

EVENTS = 1_000_000 if SOAK else 20_000
PAGE = 20_000
MINUTES = 5 if SOAK else 0
MOST_MEMORY = 250 << 20  # bytes
MOST_SLOPE = 1 << 20  # bytes a minute
MOST_CPU = 0.02  # of a core

FUNCTIONS = """
from headrace import function

@function("orders", guarantee="GUARANTEE", start="earliest")
def look(order: dict) -> None: ...
"""


@pytest.mark.timeout(1800 if SOAK else 600)
@pytest.mark.parametrize("guarantee", ["at-least-once", "effectively-once"])
def test_an_idle_runtime_with_a_long_past_is_small_and_quiet(
    own_kafka: KafkaServer, tmp_path: Path, guarantee: str
) -> None:
    source = FUNCTIONS.replace("GUARANTEE", guarantee)
    with Outside(own_kafka.bootstrap) as outside, KafkaFleet(tmp_path / "shop", own_kafka.url, source) as fleet:
        outside.make("orders", partitions=6)
        for first in range(0, EVENTS, PAGE):
            outside.emit("orders", [(f"k{n}", {"n": n}) for n in range(first, first + PAGE)])
        runtime = fleet.start()
        runtime.wait_until_serving()
        wait_for(lambda: is_handled(outside), "the past to be handled", 900, every_s=1.0)
        figures = idle(runtime)
        assert runtime.memory_bytes < MOST_MEMORY
        if SOAK:
            keep("idle", guarantee=guarantee, events=EVENTS, **figures)
            assert figures["slope_bytes_per_min"] <= MOST_SLOPE
            assert figures["cpu_share"] < MOST_CPU
        assert fleet.end() == [0]


def is_handled(outside: Outside) -> bool:
    """Whether all is done; where settlements are transactions, markers are in no topic of the input."""
    return sum(outside.committed("shop.look").values()) == EVENTS


def idle(runtime: Runtime) -> dict[str, float]:
    """Look at an idle runtime for some minutes."""
    memory, cpu_s, began = [runtime.memory_bytes], runtime.cpu_s, time.monotonic()
    for _ in range(MINUTES * 6):
        with pytest.raises(AssertionError):
            wait_for(lambda: runtime.ended, "its end, which is not to come", 10.0, every_s=5.0)
        memory.append(runtime.memory_bytes)
    half = max(1, len(memory) // 2)
    growth = sum(memory[-half:]) / half - sum(memory[:half]) / half
    return {
        "memory_mb": round(memory[-1] / 1e6, 1),
        "slope_bytes_per_min": round(growth / max(1, MINUTES / 2)),
        "cpu_share": round((runtime.cpu_s - cpu_s) / max(1.0, time.monotonic() - began), 4),
    }
