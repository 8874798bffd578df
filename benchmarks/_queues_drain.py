"""A contender: its queue filled, its workers started and held, then let go until all tasks are acknowledged."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from _kafka_gauge import Gauge
from _kafka_work import Failed
from _queues_cases import Case
from _queues_page import Tally, shut_gate

START_S, STOP_S, ACKNOWLEDGE_S = 60.0, 20.0, 30.0
MEMORY = "/dev/shm"  # what workers tell is kept off the disk that is measured


async def drain(case: Case, url: str, tasks: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", dir=MEMORY if Path(MEMORY).is_dir() else None) as name:
        folder = Path(name)
        os.environ |= {"HEADRACE_BENCH_REDIS": url, "HEADRACE_BENCH_PAGE": name}
        if case.contender.prefetch:
            os.environ["dramatiq_queue_prefetch"] = str(case.contender.prefetch)  # noqa: SIM112 - its own spelling
        contender = importlib.import_module(case.contender.module)
        redis = _client(url)
        await _fill(contender, redis, case.kind, tasks)
        command = contender.command(case.processes, case.contender.threads)
        with ExitStack() as gate:
            gate.enter_context(shut_gate(folder))
            async with _workers(command) as alive:
                await _until(lambda: Tally.of(folder).processes == case.processes, START_S, alive, "the workers start")
                gauge, before = Gauge(), _cpu_us(redis)
                gauge.first()
                gate.close()
                await _until(lambda: Tally.of(folder).done >= tasks, case.limit_s, alive, "all tasks are done")
                gauge.last()
                await _until(lambda: not contender.left(redis), ACKNOWLEDGE_S, alive, "all tasks are acknowledged")
                return _figures(gauge, Tally.of(folder), tasks) | {"redis_cpu_us": (_cpu_us(redis) - before) / tasks}


def _figures(gauge: Gauge, tally: Tally, tasks: int) -> dict[str, float]:
    if tally.done != tasks:
        raise Failed(f"{tally.done} tasks done of {tasks}")
    figures = gauge.figures(tasks)
    rate = tasks / (tally.ended - tally.begun)
    return {"tasks_per_s": rate, "cpu_us": figures["child_cpu_us"], "peak_mb": figures["peak_mb"]}


def _client(url: str) -> Any:
    from redis import Redis

    return Redis.from_url(url)


async def _fill(contender: Any, redis: Any, kind: str, tasks: int) -> None:
    """An empty server first. Filling is not measured, so it need not wait for the disk."""
    redis.flushall()
    durability = redis.config_get("appendfsync")
    redis.config_set("appendfsync", "no")
    await contender.fill(kind, tasks)
    redis.config_set(*durability.popitem())
    assert contender.left(redis) == tasks, f"{contender.left(redis)} of {tasks} tasks are queued"


def _cpu_us(redis: Any) -> float:
    used = redis.info("cpu")
    total: float = (used["used_cpu_user"] + used["used_cpu_sys"]) * 1e6
    return total


@asynccontextmanager
async def _workers(command: Sequence[str]) -> AsyncIterator[Callable[[], bool]]:
    """Started from this folder, where their modules are; stopped at the end, killed if they do not heed."""
    folder, nowhere = Path(__file__).parent, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=nowhere, start_new_session=True)
    try:
        yield lambda: process.returncode is None
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _until(holds: Callable[[], bool], limit_s: float, alive: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(limit_s):
            while not holds():
                if not alive():
                    raise Failed(f"the workers ended before {what}")
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise Failed(f"waited {limit_s:g} s until {what}") from error
