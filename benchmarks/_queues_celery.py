"""Celery, prefork, set up for tasks that must not be lost and whose results nobody reads.

Its guide to optimising has a higher prefetch multiplier tried for short tasks: 64 was no faster than the default, 4.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from _kafka_work import OrderPlaced, document
from _queues_page import Page
from celery import Celery
from celery.signals import worker_process_init

page = Page(Path(os.environ["HEADRACE_BENCH_PAGE"]))
app = Celery("bench", broker=os.environ["HEADRACE_BENCH_REDIS"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    worker_disable_rate_limits=True,
)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def wait_for_all(**_: Any) -> None:
    page.check_in()


@app.task(name="no-op")  # type: ignore[untyped-decorator]
def no_op(order: dict[str, Any]) -> None:
    page.began()
    OrderPlaced.model_validate(order)
    page.ended()


@app.task(name="1 ms")  # type: ignore[untyped-decorator]
def short(order: dict[str, Any]) -> None:
    page.began()
    OrderPlaced.model_validate(order)
    time.sleep(0.001)  # noqa: TID251 - this is the work
    page.ended()


def command(processes: int, _threads: int | None) -> list[str]:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
    worker = ["worker", "--pool", "prefork", "--concurrency", str(processes), *quiet]
    return [sys.executable, "-m", "celery", "--app", "_queues_celery", "--quiet", *worker]


async def fill(kind: str, tasks: int) -> None:
    for number in range(tasks):
        app.tasks[kind].delay(document(number))


def left(redis: Any) -> int:
    """Tasks in the queue or not acknowledged."""
    waiting: int = redis.llen("celery") + redis.hlen("unacked")
    return waiting
