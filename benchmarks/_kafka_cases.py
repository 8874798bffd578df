"""The cases: what each measures, with which settings, and how many events it gets."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from _kafka_gauge import Gauge
from _kafka_work import Work

NO_OP, ONE_EMIT, LATENCY = "no-op", "one-emit", "latency"
KINDS = {
    NO_OP: "a handler that does nothing, the order validated with pydantic unless said otherwise",
    ONE_EMIT: "a handler that emits one event for each order",
    LATENCY: "milliseconds from send to handler, 500 events/s from a process of its own",
}


@dataclass(frozen=True, slots=True)
class Case:
    """`code` is MODULE:FUNCTION; `libraries` are the distributions it needs; `most` bounds the events of a slow one."""

    name: str
    kind: str
    code: str
    libraries: Sequence[str]
    settings: str
    most: int | None = None

    def events(self, given: int) -> int:
        return 2_500 if self.kind == LATENCY else min(given, self.most or given)

    async def run(self, work: Work) -> dict[str, float]:
        module, function = self.code.split(":")
        gauge = Gauge()
        outcome: Any = getattr(importlib.import_module(module), function)(work, gauge)
        quantiles = await outcome if inspect.isawaitable(outcome) else outcome
        return quantiles or gauge.figures(work.events)


_AUTO = "commits every 5 s whatever the handler did"
_FAST = "logger=None"
_OURS = "its defaults, order by key"
_LEAST = f"at-least-once: emits acknowledged, then progress committed; {_OURS}"
_ONCE = f"effectively-once: emits and progress in one transaction; {_OURS}"
_RAW, _FASTSTREAM, _CONFLUENT, _HEADRACE = ["aiokafka"], ["faststream", "aiokafka"], ["confluent-kafka"], ["headrace"]

CASES = [
    Case("aiokafka, undecoded", NO_OP, "_kafka_aiokafka:undecoded", _RAW, f"getmany; {_AUTO}; no pydantic"),
    Case("aiokafka", NO_OP, "_kafka_aiokafka:validated", _RAW, f"getmany; {_AUTO}"),
    Case("confluent-kafka", NO_OP, "_kafka_librdkafka:confluent", _CONFLUENT,
         f"consume(500), fetch.queue.backoff.ms=2, queued.min.messages=200000; {_AUTO}"),
    Case("quixstreams", NO_OP, "_kafka_librdkafka:quix", ["quixstreams", "confluent-kafka"],
         "bytes, update(); at least once, commits every 5 s"),
    Case("faststream", NO_OP, "_kafka_faststream:single", _FASTSTREAM, f"{_FAST}, else default: {_AUTO}", 50_000),
    Case("faststream, ACK", NO_OP, "_kafka_faststream:acknowledged", _FASTSTREAM,
         f"{_FAST}, AckPolicy.ACK: at least once, a commit for each event", 5_000),
    Case("faststream, batch", NO_OP, "_kafka_faststream:batched", _FASTSTREAM,
         f"{_FAST}, batch=True, max_records=500; {_AUTO}"),
    Case("headrace", NO_OP, "_kafka_headrace:no_op", _HEADRACE, f"1 worker, {_LEAST}"),
    Case("headrace, 2 workers", NO_OP, "_kafka_headrace:no_op_two_workers", _HEADRACE,
         f"2 workers, {_LEAST}"),
    Case("headrace, effectively-once", NO_OP, "_kafka_headrace:no_op_effectively_once", _HEADRACE,
         f"1 worker, {_ONCE}"),
    Case("aiokafka: emit", ONE_EMIT, "_kafka_aiokafka:confirm", _RAW,
         "send with the order's key; flush and commit for each 500; acks=1"),
    Case("faststream: emit", ONE_EMIT, "_kafka_faststream:publisher", _FASTSTREAM,
         f"{_FAST}, @publisher, else default: acks=1, no key; {_AUTO}", 10_000),
    Case("faststream, batch: emit", ONE_EMIT, "_kafka_faststream:batch_publisher", _FASTSTREAM,
         f"{_FAST}, batch=True, max_records=500, publish_batch, max_batch_size=1 MiB; acks=1, no key; {_AUTO}"),
    Case("headrace: emit", ONE_EMIT, "_kafka_headrace:one_emit", _HEADRACE,
         f"1 worker, {_LEAST}; acks=all, idempotent, snappy, the order's key"),
    Case("headrace, effectively-once: emit", ONE_EMIT, "_kafka_headrace:one_emit_effectively_once", _HEADRACE,
         f"1 worker, {_ONCE}; snappy, the order's key"),
    Case("aiokafka: latency", LATENCY, "_kafka_latency:aiokafka", _RAW, "getmany"),
    Case("faststream: latency", LATENCY, "_kafka_latency:faststream", _FASTSTREAM, f"{_FAST}, else default"),
    Case("headrace: latency", LATENCY, "_kafka_latency:headrace", _HEADRACE, f"1 worker, at-least-once; {_OURS}"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Goal:
    """`case` handles at least `times` as many events a second as `than`."""

    case: str
    than: str
    times: float


GOALS = [Goal("headrace", "faststream", 4.0), Goal("headrace: emit", "faststream: emit", 20.0)]
COMPARED = {NO_OP: "headrace", ONE_EMIT: "headrace: emit"}
