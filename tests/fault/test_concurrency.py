"""Events that misbehave among others that run at the same time: who is stopped, who is named, who goes on."""

from __future__ import annotations

import pytest
from lab import Lab, task

from headrace.sandbox.outcome import Failed, TimedOut

BAD = b'{"bad": 1}'


@pytest.mark.parametrize("statement", ["ctypes.string_at(0)", "os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_a_crash_among_fifty_names_all_that_were_running(lab: Lab, statement: str) -> None:
    worker, ear = await lab.start(
        f"""
        running = 0

        @function("orders", concurrency=50, timeout=20)
        async def handle(data: dict) -> None:
            global running
            running += 1
            while not data or running < 50:
                await asyncio.sleep(0.001)
            {statement}
        """
    )
    done = lab.chunk(*[task(b"[]", offset=n) for n in range(2)])  # rejected: no longer running
    chunks = [lab.chunk(*[task(BAD if c == n == 3 else b"{}", offset=n) for n in range(12)]) for c in range(5)]
    for chunk in (done, *chunks):
        worker.send(chunk)
    death = await ear.death()
    assert death.reason in {"signalled", "exited"}
    started = [(chunk.id, index) for chunk in chunks for index in range(12)][:50]
    assert list(death.running) == started
    assert (chunks[3].id, 3) in death.running
    assert death.culprits == ()


async def test_one_events_timeout_ends_that_event_only(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        late = asyncio.Event()

        @function("orders", concurrency=3, timeout=4)
        async def handle(data: dict, ctx: Context) -> None:
            match ctx.event.offset:
                case 0:
                    try:
                        await asyncio.sleep(1000)
                    finally:
                        late.set()
                case 1:
                    await asyncio.sleep(2)
                case _:  # starts two seconds later, and ends after the first was stopped
                    await late.wait()
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1, key=b"k"), task(offset=2, key=b"k"))
    worker.send(chunk)
    stuck, *others = await ear.outcomes_of(chunk.id, 3)
    assert isinstance(stuck, TimedOut)
    assert "still running 4 s after it started" in stuck.failure.message
    assert "in handle" in stuck.failure.stack
    assert others == [None, None]


@pytest.mark.parametrize(
    "statement",
    [
        "time.sleep(1000)",
        "spin()",
        "threading.Event().wait()",
        "await asyncio.gather(blocking(), blocking())",
        "await asyncio.wait_for(blocking(), 1000)",
    ],
)
async def test_who_blocks_the_loop_is_timed_out_and_its_siblings_lose_no_time(lab: Lab, statement: str) -> None:
    worker, ear = await lab.start(
        f"""
        def spin():
            while True: pass

        async def blocking():
            time.sleep(1000)

        @function("orders", concurrency=20, timeout=3)
        async def handle(data: dict) -> None:
            if data:
                await asyncio.sleep(0.3)
                {statement}
            else:
                await asyncio.sleep(0.4)
                await asyncio.sleep(0.2)
        """
    )
    chunk = lab.chunk(*[task(BAD if n == 5 else b"{}", offset=n) for n in range(20)])
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 20)
    culprit = outcomes.pop(5)
    assert isinstance(culprit, TimedOut), culprit
    assert culprit.failure.type == "HandlerTimeout"
    assert outcomes == [None] * 19
    again = lab.chunk(task())
    worker.send(again)
    assert await ear.outcomes_of(again.id, 1) == [None]


async def test_who_blocks_the_loop_and_does_not_stop_is_named_when_its_worker_is_killed(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=5, timeout=1.5)
        async def handle(data: dict) -> None:
            await asyncio.sleep(0.1)
            while data:
                try: time.sleep(1)
                except BaseException: pass
            await asyncio.sleep(0.1)
        """
    )
    chunk = lab.chunk(*[task(BAD if n == 2 else b"{}", offset=n) for n in range(5)])
    worker.send(chunk)
    death = await ear.death()
    assert death.reason == "timeout"
    assert death.culprits == ((chunk.id, 2),)
    assert set(death.culprits) < set(death.running) <= {(chunk.id, n) for n in range(5)}


async def test_who_swallows_its_cancellation_is_named_and_its_siblings_end_as_they_would(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=3, timeout=2)
        async def handle(data: dict) -> None:
            while data:
                try: await asyncio.sleep(1)
                except BaseException: pass
            await asyncio.sleep(0.1)
        """
    )
    chunk = lab.chunk(task(offset=0), task(BAD, offset=1), *[task(offset=n) for n in range(2, 9)])
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.culprits, death.running) == ("timeout", ((chunk.id, 1),), ((chunk.id, 1),))
    assert ear.known(chunk.id) == 8
    assert [ear.outcomes[chunk.id][n] for n in (0, *range(2, 9))] == [None] * 8


async def test_who_holds_the_interpreter_among_others_cannot_be_named(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=3, timeout=0.3)
        async def handle(data: dict) -> None:
            await asyncio.sleep(0.1)
            if data:
                ctypes.PyDLL(None).sleep(1000)
            await asyncio.sleep(0.1)
        """
    )
    chunk = lab.chunk(task(BAD, offset=0), task(offset=1), task(offset=2))
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.culprits) == ("timeout", ())
    assert (chunk.id, 0) in death.running
    assert len(death.running) > 1


async def test_who_holds_the_interpreter_before_the_watch_first_looked_cannot_be_named(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        sys.setswitchinterval(1000)

        @function("orders", concurrency=3, timeout=0.3)
        async def handle(data: dict) -> None:
            if data:
                ctypes.PyDLL(None).sleep(1000)
            await asyncio.Event().wait()
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1), task(BAD, offset=2))
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.culprits) == ("timeout", ())
    assert death.running == tuple((chunk.id, n) for n in range(3))


async def test_who_holds_the_interpreter_alone_is_named(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=3, timeout=0.3)
        async def handle(data: dict) -> None:
            ctypes.PyDLL(None).sleep(1000)
        """
    )
    chunk = lab.chunk(task(offset=0))
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.culprits) == ("timeout", ((chunk.id, 0),))


async def test_a_cancellation_of_an_events_own_is_a_failure(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", concurrency=2)
        async def handle(data: dict) -> None:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1))
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 2)
    assert [o.failure.type for o in outcomes if isinstance(o, Failed)] == ["asyncio.exceptions.CancelledError"] * 2


@pytest.mark.parametrize(
    ("options", "payload"),
    [
        ("", "dict"),
        ("concurrency=3", "dict"),
        ("batch=Batch()", "list[dict]"),
        ("batch=Batch(), concurrency=3", "list[dict]"),
    ],
)
@pytest.mark.parametrize(
    "statement",
    ["pass", "raise SystemExit(3)", "await asyncio.sleep(0)", "await loop.create_future()", "await task"],
)
async def test_a_forked_child_that_goes_on_reports_nothing_and_disturbs_nobody(
    lab: Lab, options: str, payload: str, statement: str
) -> None:
    worker, ear = await lab.start(
        f"""
        from headrace import Batch
        ended = asyncio.Event()

        async def leave():
            while os.getpid() == worker:
                await asyncio.sleep(0.001)
            sys.exit(3)

        @function("orders", timeout=20, {options})
        async def fork(data: {payload}) -> None:
            global worker
            if any(data):
                worker, loop = os.getpid(), asyncio.get_running_loop()
                task = loop.create_task(leave() if {"task" in statement} else asyncio.sleep(0))
                await asyncio.sleep(0)
                if pid := os.fork():
                    assert os.waitpid(pid, 0)[1] == 0
                    ended.set()
                    task.cancel()
                else:
                    {statement}
            else:
                await ended.wait()
                await asyncio.to_thread(time.sleep, 0)
        """
    )
    chunks = [lab.chunk(task(data, offset=n)) for n, data in enumerate((BAD, b"{}", b"{}", b"{}"))]
    for chunk in chunks:
        worker.send(chunk)
    for chunk in chunks:
        assert await ear.outcomes_of(chunk.id, 1) == [None]
    await worker.stop(5)
    assert [death.reason for death in ear.deaths] == ["stopped"]
    assert ear.lines == []


async def test_a_forked_child_waits_for_nothing_that_the_watch_held(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        import gc
        from headrace.sandbox.deadlines import Deadlines

        @function("orders", concurrency=3, timeout=20)
        async def fork(data: dict) -> None:
            loop = asyncio.get_running_loop()
            (deadlines,) = [found for found in gc.get_objects() if isinstance(found, Deadlines)]
            deadlines._lock.acquire()
            loop.call_soon(deadlines._turned)
            if pid := os.fork():
                deadlines._lock.release()
                assert os.waitpid(pid, 0)[1] == 0
            else:
                await loop.create_future()
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
