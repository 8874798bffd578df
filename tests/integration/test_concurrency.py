"""Several events at once in one real worker: how many, in which order, and what is told of each."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from lab import Lab, task

from headrace.sandbox.outcome import Failed, NotRun, Rejected, TimedOut

GATE = """
async def gate(name):
    while not Path(%r, name).exists():
        await asyncio.sleep(0.001)
"""


def data(**fields: object) -> bytes:
    return json.dumps(fields).encode()


async def test_as_many_events_as_declared_run_at_once_over_all_chunks_and_no_more(lab: Lab, tmp_path: Path) -> None:
    worker, ear = await lab.start(
        f"""
        now = most = seen = 0

        @function("orders", concurrency=4, timeout=20)
        async def meet(data: dict) -> None:
            global now, most, seen
            now, seen = now + 1, seen + 1
            most = max(most, now)
            while seen < 4:  # ends only if four of them meet
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.002)
            now -= 1
            Path({str(tmp_path / "most")!r}).write_text(str(most))
        """
    )
    chunks = [lab.chunk(task(offset=3 * n), task(offset=3 * n + 1), task(offset=3 * n + 2)) for n in range(4)]
    for chunk in chunks:
        worker.send(chunk)
    for chunk in chunks:
        assert await ear.outcomes_of(chunk.id, 3) == [None] * 3
    assert (tmp_path / "most").read_text() == "4"
    assert worker.in_flight == 0


@pytest.mark.parametrize("order", ["key", "partition", "none"])
async def test_events_of_a_lane_run_one_after_another_in_frame_order(lab: Lab, tmp_path: Path, order: str) -> None:
    worker, ear = await lab.start(
        f"""
        import json, random
        seen = []

        @function("orders", concurrency=16, order="{order}")
        async def note(data: dict, ctx: Context) -> None:
            if data:
                Path({str(tmp_path / "seen")!r}).write_text(json.dumps(seen))
                return
            seen.append((ctx.event.key, ctx.event.offset, "begins"))
            await asyncio.sleep(random.random() * 0.005)
            seen.append((ctx.event.key, ctx.event.offset, "ends"))
        """
    )
    keys = [None, b"a", b"b", b"c", b"d"]
    chunks = [lab.chunk(*[task(offset=40 * c + n, key=keys[n % 5]) for n in range(40)]) for c in range(3)]
    for chunk in chunks:
        worker.send(chunk)
    for chunk in chunks:
        assert await ear.outcomes_of(chunk.id, 40) == [None] * 40
    last = lab.chunk(task(data(dump=1), offset=1000))
    worker.send(last)
    await ear.outcomes_of(last.id, 1)
    lanes = defaultdict(list)
    for key, offset, what in json.loads((tmp_path / "seen").read_text()):
        lanes["all" if order == "partition" else offset if order == "none" else key or offset].append((offset, what))
    for steps in lanes.values():
        offsets = sorted({offset for offset, _ in steps})
        assert steps == [(offset, what) for offset in offsets for what in ("begins", "ends")]
    assert len(lanes) == {"key": 4 + 24, "partition": 1, "none": 120}[order]


async def test_after_a_failure_the_rest_of_its_lane_in_the_chunk_is_not_run_but_for_a_higher_epoch(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=8)
        async def handle(data: dict) -> None:
            await asyncio.sleep(0.002)
            if data.get("how") == "reject":
                raise Reject("no")
            if data:
                raise ValueError("odd")
        """
    )
    chunk = lab.chunk(
        task(data(how="fail"), offset=0, key=b"a"),
        task(offset=1, key=b"b"),
        task(offset=2, key=b"a"),
        task(data(how="reject"), offset=3, key=b"b"),
        task(offset=4, key=b"a", epoch=1),
        task(offset=5, key=b"b"),
        task(offset=6, key=b"a"),
        task(data(how="fail"), offset=7),
        task(offset=8),
    )
    later = lab.chunk(task(offset=9, key=b"a"))
    worker.send(chunk)
    worker.send(later)
    outcomes = await ear.outcomes_of(chunk.id, 9)
    kinds = [type(outcome) for outcome in outcomes]
    none = type(None)
    assert kinds == [Failed, none, NotRun, Rejected, none, none, NotRun, Failed, none]
    assert await ear.outcomes_of(later.id, 1) == [None]


async def test_outcomes_are_told_when_known_whatever_still_runs_before_them(lab: Lab, tmp_path: Path) -> None:
    worker, ear = await lab.start(
        GATE % str(tmp_path)
        + """
@function("orders", concurrency=3)
async def handle(data: dict) -> None:
    if data:
        await gate(data["gate"])
"""
    )
    chunk = lab.chunk(
        task(data(gate="x"), offset=0), task(offset=1), task(data(gate="y"), offset=2), task(offset=3), task(offset=4)
    )
    worker.send(chunk)
    await ear.until(lambda: ear.known(chunk.id) == 3)
    assert worker.in_flight == 2
    (tmp_path / "y").touch()
    await ear.until(lambda: ear.known(chunk.id) == 4)
    (tmp_path / "x").touch()
    assert await ear.outcomes_of(chunk.id, 5) == [None] * 5
    assert sum(report.spent_ns for report in ear.reports) > 0


async def test_what_is_known_is_told_while_another_event_blocks_the_loop(lab: Lab, tmp_path: Path) -> None:
    worker, ear = await lab.start(
        f"""
        @function("orders", concurrency=2)
        async def handle(data: dict) -> None:
            if data:
                while not Path({str(tmp_path)!r}, "go").exists():
                    time.sleep(0.001)
        """
    )
    chunk = lab.chunk(task(offset=0), task(data(block=1), offset=1))
    worker.send(chunk)
    await ear.until(lambda: ear.known(chunk.id) == 1)
    (tmp_path / "go").touch()
    assert await ear.outcomes_of(chunk.id, 2) == [None, None]


async def test_what_events_print_and_log_is_told_apart(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=10)
        async def handle(data: dict, ctx: Context) -> None:
            n = ctx.event.offset
            print("one", end=" ")
            await asyncio.sleep(0.001)
            print(f"line of {n}")
            await asyncio.gather(asyncio.to_thread(print, f"thread of {n}"), child(n))
            ctx.log.info("logged", n=n)
            print(f"rest of {n}", end="")

        async def child(n):
            await asyncio.sleep(0.001)
            print(f"child of {n}")
        """
    )
    chunk = lab.chunk(*[task(offset=n, key=b"%d" % n) for n in range(30)])
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 30) == [None] * 30
    await worker.stop(5)
    told = {(line.event, line.stream, line.text) for line in ear.lines}
    texts = ("one line of {}", "thread of {}", "child of {}", "rest of {}")
    assert told == {
        *((f"orders/2/{n}", "stdout", text.format(n)) for n in range(30) for text in texts),
        *((f"orders/2/{n}", "log", "logged") for n in range(30)),
    }


async def test_what_a_handler_sets_in_its_context_does_not_reach_the_next_event(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        from contextvars import ContextVar
        mine = ContextVar("mine", default=0)

        @function("orders", concurrency=2)
        async def handle(data: dict) -> None:
            assert mine.get() == 0
            mine.set(1)
            await asyncio.sleep(0)
        """
    )
    chunk = lab.chunk(*[task(offset=n) for n in range(20)])
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 20) == [None] * 20


async def test_a_recalled_worker_finishes_what_runs_and_gives_back_what_waits(lab: Lab, tmp_path: Path) -> None:
    worker, ear = await lab.start(
        GATE % str(tmp_path)
        + """
started = 0

@function("orders", concurrency=3)
async def handle(data: dict) -> None:
    if data:
        print("started")
        await gate("go")
"""
    )
    slow = [task(data(n=n), offset=n, key=b"k%d" % n) for n in range(3)]
    chunks = [lab.chunk(*slow, task(offset=3, key=b"k0"), task(offset=4)), lab.chunk(task(offset=5), task(offset=6))]
    for chunk in chunks:
        worker.send(chunk)
    await ear.until(lambda: sum(line.text == "started" for line in ear.lines) == 3)
    worker.recall()
    (tmp_path / "go").touch()
    assert await ear.outcomes_of(chunks[0].id, 5) == [None, None, None, NotRun(), NotRun()]
    assert await ear.outcomes_of(chunks[1].id, 2) == [NotRun(), NotRun()]
    after = lab.chunk(task(offset=7))
    worker.send(after)
    assert await ear.outcomes_of(after.id, 1) == [None]


async def test_what_was_recalled_comes_back_while_events_still_run(lab: Lab, tmp_path: Path) -> None:
    worker, ear = await lab.start(
        GATE % str(tmp_path)
        + """
@function("orders", concurrency=2)
async def handle(data: dict) -> None:
    print("started")
    await gate("go")
"""
    )
    chunk = lab.chunk(*[task(offset=n) for n in range(6)])
    worker.send(chunk)
    await ear.until(lambda: len(ear.lines) == 2)
    worker.recall()
    await ear.until(lambda: ear.known(chunk.id) == 4)
    (tmp_path / "go").touch()
    assert await ear.outcomes_of(chunk.id, 6) == [None, None, *[NotRun()] * 4]


async def test_a_stopped_worker_finishes_what_it_was_sent(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=5)
        async def handle(data: dict) -> None:
            await asyncio.sleep(0.002)
        """
    )
    chunk = lab.chunk(*[task(offset=n, key=b"%d" % (n % 7)) for n in range(40)])
    worker.send(chunk)
    await worker.stop(20)
    assert ear.outcomes[chunk.id] == [None] * 40
    assert (await ear.death()).reason == "stopped"


async def test_a_handler_that_cancels_every_task_fails_its_siblings_and_not_the_worker(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=3, timeout=20)
        async def handle(data: dict) -> None:
            if data:
                for one in asyncio.all_tasks() - {asyncio.current_task()}:
                    one.cancel()
            else:
                await asyncio.sleep(1000)
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1), task(data(all=1), offset=2))
    worker.send(chunk)
    first, second, culprit = await ear.outcomes_of(chunk.id, 3)
    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert not isinstance(first, TimedOut)
    assert culprit is None
    again = lab.chunk(task(data(all=1)))
    worker.send(again)
    assert await ear.outcomes_of(again.id, 1) == [None]
