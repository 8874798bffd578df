"""Dramatiq, its Redis broker and middleware as they come."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import dramatiq
from _kafka_work import OrderPlaced, document
from _queues_page import Page
from dramatiq.brokers.redis import RedisBroker

page = Page(Path(os.environ["HEADRACE_BENCH_PAGE"]))


class WaitForAll(dramatiq.Middleware):
    def before_worker_boot(self, *_: Any) -> None:
        page.check_in()


broker = RedisBroker(url=os.environ["HEADRACE_BENCH_REDIS"])
broker.add_middleware(WaitForAll())
dramatiq.set_broker(broker)


@dramatiq.actor
def no_op(order: dict[str, Any]) -> None:
    page.began()
    OrderPlaced.model_validate(order)
    page.ended()


@dramatiq.actor
def short(order: dict[str, Any]) -> None:
    page.began()
    OrderPlaced.model_validate(order)
    time.sleep(0.001)  # noqa: TID251 - this is the work
    page.ended()


ACTORS = {"no-op": no_op, "1 ms": short}


def command(processes: int, threads: int | None) -> list[str]:
    bounds = ["--processes", str(processes), *(["--threads", str(threads)] if threads else [])]
    return [sys.executable, "-m", "dramatiq", "--skip-logging", *bounds, "_queues_dramatiq"]


async def fill(kind: str, tasks: int) -> None:
    for number in range(tasks):
        ACTORS[kind].send(document(number))


def left(redis: Any) -> int:
    """Tasks in the queue or not acknowledged."""
    waiting: int = redis.hlen("dramatiq:default.msgs")
    return waiting
