"""Pools of real workers: up with demand, down when idle, patient with what keeps failing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from lab import Ear, Lab, task, wait_until

from headrace.sandbox.pool import Pool
from headrace.sandbox.process import Worker

NOOP = """
@function("orders")
def noop(data: dict) -> None:
    if data:
        os._exit(1)
"""


class Ready:
    """Waits for workers to become ready."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Worker] = asyncio.Queue()

    def __call__(self, worker: Worker) -> None:
        self.queue.put_nowait(worker)

    async def next(self) -> Worker:
        return await asyncio.wait_for(self.queue.get(), 30)


async def pool_of(lab: Lab, ear: Ear, ready: Ready, *, least: int, most: int, idle: float = 60) -> Pool:
    lab.write(NOOP)
    return Pool(lab.zygote, await lab.spec(), ear, least=least, most=most, idle=idle, on_ready=ready)


async def test_the_least_number_is_up_once_it_is_open(lab: Lab) -> None:
    pool = await pool_of(lab, Ear(), Ready(), least=2, most=3)
    await pool.open()
    assert (len(pool.workers), pool.starting, pool.problem) == (2, 0, None)
    assert "2 workers ready" in repr(pool)
    await pool.close(5)
    assert (len(pool.workers), repr(pool)) == (0, "<Pool, closed>")


async def test_demand_starts_one_worker_at_a_time_up_to_the_most(lab: Lab) -> None:
    ready = Ready()
    pool = await pool_of(lab, Ear(), ready, least=0, most=2)
    await pool.open()
    assert len(pool.workers) == 0
    for _ in range(5):
        pool.demand()
    assert pool.starting == 2
    await ready.next()
    await ready.next()
    assert (len(pool.workers), pool.starting) == (2, 0)
    await pool.close(5)


async def test_an_idle_worker_is_stopped_and_started_again_on_demand(lab: Lab) -> None:
    ear, ready = Ear(), Ready()
    pool = await pool_of(lab, ear, ready, least=0, most=1, idle=0.2)
    await pool.open()
    pool.demand()
    worker = await ready.next()
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    assert (await ear.death()).reason == "stopped"
    assert len(pool.workers) == 0
    pool.demand()
    second = await ready.next()
    assert second.id != worker.id
    await pool.close(5)


async def test_a_worker_that_works_is_not_idle(lab: Lab) -> None:
    ear, ready = Ear(), Ready()
    gate = lab.folder / "gate"
    lab.write(
        f"""
        @function("orders")
        def wait(data: dict) -> None:
            while not os.path.exists({str(gate)!r}):
                time.sleep(0.01)
        """
    )
    pool = Pool(lab.zygote, await lab.spec(), ear, least=0, most=1, idle=60, on_ready=ready)
    pool.demand()
    worker = await ready.next()
    chunk = lab.chunk(task())
    worker.send(chunk)
    looks = 0
    look = pool._look

    def counted() -> None:
        nonlocal looks
        looks += 1
        look()

    pool._look = counted  # type: ignore[method-assign]
    pool._idle = 0.05  # from now on: it has work
    pool._arm()
    await wait_until(lambda: looks >= 5, "a look at the idle workers")
    assert list(pool.workers) == [worker]
    gate.touch()
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    await pool.close(5)


async def test_a_start_that_fails_is_explained_and_tried_again(lab: Lab) -> None:
    ready, problems = Ready(), []
    pool = await pool_of(lab, Ear(), ready, least=1, most=1)
    pool._on_problem = problems.append
    lab.write("1 / 0")
    await pool.open()
    assert pool.problem is not None
    assert "functions.py:5: cannot be imported: ZeroDivisionError" in pool.problem
    assert problems == [pool.problem]
    pool.demand()
    assert pool.starting == 0  # too soon
    lab.write(NOOP)
    await ready.next()
    assert pool.problem is None
    await pool.close(5)


async def test_demand_that_came_too_soon_is_not_forgotten(lab: Lab) -> None:
    ear, ready = Ear(), Ready()
    pool = await pool_of(lab, ear, ready, least=0, most=1)
    pool.demand()
    worker = await ready.next()
    os.kill(worker.pid, signal.SIGKILL)
    await ear.death()
    pool.demand()
    assert pool.starting == 0  # it died with no event to blame: the next start waits
    assert (await ready.next()).id != worker.id
    await pool.close(5)


async def test_a_worker_that_an_event_killed_is_replaced_at_once(lab: Lab) -> None:
    ear, ready = Ear(), Ready()
    pool = await pool_of(lab, ear, ready, least=0, most=1)
    pool.demand()
    (await ready.next()).send(lab.chunk(task(b'{"die": 1}')))
    await ear.death()
    pool.demand()
    assert pool.starting == 1
    await pool.close(5)


async def test_a_worker_that_had_reported_is_replaced_at_once(lab: Lab) -> None:
    ear, ready = Ear(), Ready()
    pool = await pool_of(lab, ear, ready, least=0, most=1)
    pool.demand()
    worker = await ready.next()
    chunk = lab.chunk(task())
    worker.send(chunk)
    await ear.outcomes_of(chunk.id, 1)
    worker.send(lab.chunk(task(b'{"die": 1}')))
    await ear.death()
    assert len(pool.workers) == 0
    pool.demand()
    assert pool.starting == 1
    await pool.close(5)
    assert pool.starting == 0


async def test_closing_in_the_middle_of_a_start_leaves_no_process(lab: Lab) -> None:
    lab.write("threading.Event().wait()" + NOOP)
    lab.folder.joinpath("functions.py").write_text(
        lab.folder.joinpath("functions.py").read_text().replace("threading.Event().wait()", "")
    )
    spec = await lab.spec()
    lab.write("threading.Event().wait()")
    pool = Pool(lab.zygote, spec, Ear(), least=0, most=1, idle=60)
    children = Path(f"/proc/{lab.zygote.pid}/task/{lab.zygote.pid}/children")
    await wait_until(lambda: not children.read_text().split(), "the end of the manifest's")
    pool.demand()
    await wait_until(lambda: children.read_text().split(), "a worker")
    await pool.close(5)
    await wait_until(lambda: not children.read_text().split(), "its end")
