"""Taskiq on its Redis stream broker, which acknowledges; a task is `async` unless it blocks, as its guide says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from _kafka_work import OrderPlaced, document
from _queues_page import Page
from taskiq import TaskiqEvents
from taskiq_redis import RedisStreamBroker

page = Page(Path(os.environ["HEADRACE_BENCH_PAGE"]))
broker = RedisStreamBroker(os.environ["HEADRACE_BENCH_REDIS"])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def wait_for_all(_: Any) -> None:
    page.check_in()


@broker.task("no-op")
async def no_op(order: OrderPlaced) -> None:
    page.began()
    _ = order
    page.ended()


@broker.task("1 ms")
def short(order: OrderPlaced) -> None:
    page.began()
    _ = order
    time.sleep(0.001)  # noqa: TID251 - this is the work
    page.ended()


TASKS: dict[str, Any] = {"no-op": no_op, "1 ms": short}


def command(processes: int, _threads: int | None) -> list[str]:
    settings = ["--workers", str(processes), "--ack-type", "when_executed", "--log-level", "ERROR"]
    return [sys.executable, "-m", "taskiq", "worker", "_queues_taskiq:broker", *settings]


async def fill(kind: str, tasks: int) -> None:
    """The consumer group first: it begins where the stream ends."""
    await broker.startup()
    for number in range(tasks):
        await TASKS[kind].kiq(OrderPlaced.model_validate(document(number)))
    await broker.shutdown()


def left(redis: Any) -> int:
    """Tasks not read, or not acknowledged."""
    (group,) = redis.xinfo_groups("taskiq")
    waiting: int = group["pending"] + (group["lag"] or 0)
    return waiting
