"""Handlers that misbehave: each hurts itself and nobody else, and the parent learns what happened."""

from __future__ import annotations

import pytest
from lab import Lab, task

from headrace.sandbox.outcome import Failed, TimedOut

# -- the soft deadline ------------------------------------------------------------------------------------------------

STUCK = """
reader, writer = socket.socketpair()

def spin():
    while True: pass

@function("orders", timeout=0.2)
%sdef handle(data: dict) -> None:
    if data:
        %s
"""


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("", "spin()"),
        ("", "time.sleep(1000)"),
        ("", "reader.recv(1)"),
        ("", "threading.Lock().acquire() and threading.Event().wait()"),
        ("", "asyncio.run(asyncio.sleep(1000))"),
        ("async ", "await asyncio.sleep(1000)"),
        ("async ", "await asyncio.gather(asyncio.sleep(1000), asyncio.sleep(1000))"),
        ("async ", "await asyncio.to_thread(threading.Event().wait, 1)"),
        ("async ", "spin()"),
        ("async ", "time.sleep(1000)"),
        ("async ", "await asyncio.create_task(asyncio.to_thread(time.sleep, 1))"),
    ],
)
async def test_a_handler_past_its_deadline_is_interrupted_and_its_worker_goes_on(
    lab: Lab, kind: str, statement: str
) -> None:
    worker, ear = await lab.start(STUCK % (kind, statement))
    chunk = lab.chunk(task(offset=0), task(b'{"bad": 1}', offset=1), task(offset=2), task(b'{"bad": 1}', offset=3))
    worker.send(chunk)
    first, stuck, after, again = await ear.outcomes_of(chunk.id, 4)
    assert (first, after) == (None, None)
    for outcome in (stuck, again):
        assert isinstance(outcome, TimedOut)
        assert outcome.failure.type == "HandlerTimeout"
        assert "still running 0.2 s after it started" in outcome.failure.message
        assert "in handle" in outcome.failure.stack
    assert ear.deaths == []


async def test_a_cancellation_of_the_handlers_own_is_a_failure_not_a_timeout(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        async def handle(data: dict) -> None:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1))
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 2)
    assert [o.failure.type for o in outcomes if isinstance(o, Failed)] == ["asyncio.exceptions.CancelledError"] * 2


# -- the hard one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("", "while True:\n        try: time.sleep(1)\n        except BaseException: pass"),
        ("", "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n    threading.Event().wait()"),
        ("", "ctypes.PyDLL(None).sleep(1000)"),  # holds the interpreter's lock: nothing of ours runs
        ("async ", "while True:\n        try: await asyncio.sleep(1)\n        except BaseException: pass"),
    ],
)
async def test_a_handler_that_does_not_stop_when_asked_is_killed(lab: Lab, kind: str, body: str) -> None:
    source = f'@function("orders", timeout=0.2)\n{kind}def handle(data: dict) -> None:\n    {body}\n'
    worker, ear = await lab.start(source)
    chunk = lab.chunk(task(offset=0), task(offset=1))
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.running) == ("timeout", ((chunk.id, 0),))
    assert worker.in_flight == 2


async def test_a_worker_whose_page_lies_is_killed_for_its_silence(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        import gc
        from headrace.sandbox.page import Page

        @function("orders", timeout=1)
        def handle(data: dict) -> None:
            (page,) = [found for found in gc.get_objects() if isinstance(found, Page)]
            page.words[4] = 0
            ctypes.PyDLL(None).sleep(1000)
        """
    )
    worker.send(lab.chunk(task()))
    death = await ear.death()
    assert (death.reason, death.running) == ("timeout", ())
    assert "nothing was reported" in death.detail


# -- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "reason", "detail"),
    [
        ("os._exit(0)", "exited", "code 0"),
        ("os._exit(7)", "exited", "code 7"),
        ("ctypes.string_at(0)", "signalled", "SIGSEGV"),
        ("os.abort()", "signalled", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signalled", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "signalled", "SIGTERM"),
    ],
)
@pytest.mark.parametrize("kind", ["", "async "])
async def test_a_crash_names_the_event_that_was_running(
    lab: Lab, kind: str, statement: str, reason: str, detail: str
) -> None:
    worker, ear = await lab.start(
        f"""
        @function("orders", timeout=5)
        {kind}def handle(data: dict) -> None:
            if data:
                print("last words", file=sys.stderr)
                {statement}
        """
    )
    first, second = lab.chunk(task(offset=0)), lab.chunk(task(offset=1), task(b'{"bad": 1}', offset=2), task(offset=3))
    worker.send(first)
    worker.send(second)
    death = await ear.death()
    assert (death.reason, detail in death.detail) == (reason, True), death
    assert death.running == ((second.id, 1),)
    assert "last words" in death.output
    assert ear.outcomes[first.id] == [None]
    assert len(ear.deaths) == 1


async def test_a_worker_that_hangs_up_is_ended(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def hang_up(data: dict) -> None:
            os.close(3)
            threading.Event().wait()
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.running) == ("protocol", ((chunk.id, 0),))


async def test_outcomes_in_the_pipe_come_before_the_death(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", emits="out")
        def handle(data: dict, ctx: Context) -> None:
            if data:
                os._exit(1)
            ctx.emit("out", b"x" * 200_000)
        """
    )
    chunks = [lab.chunk(*[task(offset=n) for n in range(5)]) for _ in range(5)]
    for chunk in (*chunks, lab.chunk(task(b'{"bad": 1}'))):
        worker.send(chunk)
    await ear.death()
    assert [len(ear.outcomes[chunk.id]) for chunk in chunks] == [5] * 5


async def test_shared_memory_beyond_the_limit_ends_the_worker(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        import mmap

        @function("orders", sandbox=Sandbox(memory=64 << 20))
        def hoard(data: dict) -> None:
            shared = mmap.mmap(-1, 200 << 20)
            for at in range(0, 200 << 20, 4096):
                shared[at] = 1
            threading.Event().wait()
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    death = await ear.death()
    assert (death.reason, death.running) == ("memory", ((chunk.id, 0),))


async def test_a_killed_worker_was_stopped_on_request(lab: Lab) -> None:
    worker, ear = await lab.start(STUCK % ("", "spin()"))
    worker.send(lab.chunk(task(b'{"bad": 1}')))
    worker.kill()
    assert (await ear.death()).reason == "stopped"
