"""The cases: who drains what with how many processes, with which settings, and how many tasks it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from _queues_redis import ALWAYS, DEFAULT

NO_OP, SHORT = "no-op", "1 ms"
KINDS = {NO_OP: "the order decoded into a pydantic model, then nothing", SHORT: "the same, then time.sleep(0.001)"}
LOG = "log"  # headrace's own: synced at each settlement


@dataclass(frozen=True, slots=True)
class Contender:
    """`module` has its code; `part` is the share of the tasks given that it gets."""

    name: str
    module: str
    libraries: Sequence[str]
    settings: str
    part: float = 1.0
    threads: int | None = None
    prefetch: int | None = None

    @property
    def on_redis(self) -> bool:
        return "headrace" not in self.libraries


@dataclass(frozen=True, slots=True)
class Case:
    contender: Contender
    kind: str
    processes: int
    durability: str
    limit_s: float = 240.0

    @property
    def name(self) -> str:
        where = "" if self.durability == LOG else f", Redis {self.durability}"
        return f"{self.contender.name}{where}: {self.kind}, {self.processes}"

    def tasks(self, given: int) -> int:
        """As many for all where the task sets the pace."""
        return max(1, int(given * (0.04 if self.kind == SHORT else self.contender.part)))


_ACTORS = "as it comes: acknowledged when done, no result backend"
_DRAMATIQ = ["dramatiq", "redis"]

HEADRACE = Contender(
    "headrace",
    "_queues_headrace",
    ["headrace"],
    "isolated workers, concurrency 1, its defaults: order by key, 4 partitions, synced settlements",
)
CONTENDERS = [
    HEADRACE,
    Contender("celery", "_queues_celery", ["celery", "redis"],
              "prefork, one worker with this concurrency; acks_late, reject_on_worker_lost, prefetch multiplier 4, "
              "its default, ignore_result, no rate limits, gossip, mingle or heartbeat", 0.03),
    Contender("dramatiq", "_queues_dramatiq", _DRAMATIQ, f"8 threads in each process (its default), {_ACTORS}", 0.06),
    Contender("dramatiq, prefetch 64", "_queues_dramatiq", _DRAMATIQ,
              f"dramatiq_queue_prefetch=64, 8 threads, else {_ACTORS}", 0.06, prefetch=64),
    Contender("dramatiq, 1 thread", "_queues_dramatiq", _DRAMATIQ,
              f"1 thread in each process, else {_ACTORS}", 0.06, threads=1),
    Contender("taskiq", "_queues_taskiq", ["taskiq", "taskiq-redis", "redis"],
              "RedisStreamBroker, ack when_executed, up to 100 tasks at a time, no result backend; "
              "no-op async, 1 ms in its thread pool", 0.06),
]  # fmt: skip


def _cases_of(kind: str, processes: int) -> list[Case]:
    return [
        Case(contender, kind, processes, durability)
        for contender in CONTENDERS
        for durability in ((DEFAULT, ALWAYS) if contender.on_redis else (LOG,))
    ]


CASES = [case for kind in KINDS for processes in (1, 2) for case in _cases_of(kind, processes)]
CASES.append(Case(HEADRACE, SHORT, 8, LOG))  # as many tasks at a time as Dramatiq's threads

GOALS = {
    "celery": 60.0,
    "dramatiq": 25.0,
    "dramatiq, prefetch 64": 25.0,
    "taskiq": 15.0,
}  # tasks a second of no-op, one process each
