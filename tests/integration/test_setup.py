"""`setup=` in real workers: there before the first event, shared, closed at the end; a failing one starts no worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
from lab import Ear, Lab, task

from headrace.sandbox.outcome import Done, Failed, TimedOut
from headrace.sandbox.pool import Pool

NOTES = """
NOTES = Path(os.environ.get("NOTES", "notes"))

def note(text):
    with NOTES.open("a") as notes:
        notes.write(text + chr(10))
"""

KINDS = {
    "both are sync": ("", ""),
    "both are async": ("async ", "async "),
    "only the handler is async": ("", "async "),
    "only the setup is async": ("async ", ""),
    "both are async, several events at once": ("async ", "async "),
}

COUNTS = (
    NOTES
    + """
%(setup)sdef counter():
    note("opened")
    seen = []
    yield seen
    note(f"closed after {len(seen)}")

@function("orders", emits="out", setup=counter, concurrency=%(concurrency)d)
%(handler)sdef handle(data: dict, ctx: Context[list]) -> None:
    ctx.state.append(1)
    ctx.emit("out", [len(ctx.state), ctx.attempt])
"""
)


def notes_of(lab: Lab) -> list[str]:
    path = lab.folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def emitted(outcome: object) -> object:
    assert isinstance(outcome, Done), outcome
    return json.loads(outcome.emits[0].value or b"")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_state_is_there_shared_by_all_events_and_closed_on_drain(lab: Lab, kind: str) -> None:
    setup, handler = KINDS[kind]
    concurrency = 4 if "several" in kind else 1
    worker, ear = await lab.start(COUNTS % {"setup": setup, "handler": handler, "concurrency": concurrency})
    assert notes_of(lab) == ["opened"]
    for expected in ([1, 2], [3]):
        chunk = lab.chunk(*(task(offset=n) for n in range(len(expected))))
        worker.send(chunk)
        outcomes = await ear.outcomes_of(chunk.id, len(expected))
        assert [emitted(outcome) for outcome in outcomes] == [[n, 1] for n in expected]
    await worker.stop(30)
    assert (await ear.death()).reason == "stopped"
    assert notes_of(lab) == ["opened", "closed after 3"]


async def test_a_handler_without_a_context_may_have_a_setup(lab: Lab) -> None:
    worker, ear = await lab.start(
        NOTES
        + """
def sets_a_global():
    global client
    client = "there"
    yield

@function("orders", setup=sets_a_global)
def handle(data: dict) -> None:
    note(client)
"""
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    assert notes_of(lab) == ["there"]
    await worker.stop(30)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_an_async_setup_lives_on_the_loop_of_the_handlers(lab: Lab, concurrency: int) -> None:
    worker, ear = await lab.start(
        f"""
async def ticking():
    ticks = asyncio.Queue()
    async def tick():
        while True:
            await asyncio.sleep(0)
            if ticks.empty():
                ticks.put_nowait("tick")
    async with asyncio.timeout(None), asyncio.TaskGroup() as group:
        task = group.create_task(tick())
        yield asyncio.get_running_loop(), ticks
        task.cancel()
    print("closed")

@function("orders", emits="out", setup=ticking, concurrency={concurrency})
async def handle(data: dict, ctx: Context[tuple]) -> None:
    loop, ticks = ctx.state
    ctx.emit("out", [loop is asyncio.get_running_loop(), await ticks.get()])
"""
    )
    chunk = lab.chunk(task(), task(offset=1))
    worker.send(chunk)
    assert [emitted(one) for one in await ear.outcomes_of(chunk.id, 2)] == [[True, "tick"], [True, "tick"]]
    await worker.stop(30)
    assert (await ear.line("closed")).stream == "stdout"


async def test_a_sync_handler_may_run_coroutines_on_the_loop_of_its_async_setup(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
async def connect():
    queue = asyncio.Queue()
    yield asyncio.get_running_loop(), queue

@function("orders", emits="out", setup=connect)
def handle(data: dict, ctx: Context[tuple]) -> None:
    loop, queue = ctx.state
    async def through():
        await queue.put("through")
        return await queue.get()
    ctx.emit("out", [loop.run_until_complete(through()), asyncio.run(asyncio.sleep(0, "own"))])
"""
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert [emitted(one) for one in await ear.outcomes_of(chunk.id, 1)] == [["through", "own"]]
    await worker.stop(30)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_an_event_that_times_out_or_cancels_all_tasks_does_not_end_the_setup(lab: Lab, concurrency: int) -> None:
    worker, ear = await lab.start(
        NOTES
        + f"""
async def held():
    try:
        yield "held"
    finally:
        note("closed in order" if sys.exc_info()[0] is None else "torn down")

@function("orders", setup=held, timeout=0.2, concurrency={concurrency}, retry=Retry(attempts=1))
async def handle(data: dict, ctx: Context[str]) -> None:
    if "late" in data:
        await asyncio.Event().wait()
    for one in asyncio.all_tasks():
        one.cancel()
    await asyncio.Event().wait()
"""
    )
    for value in (b'{"late": 1}', b"{}"):
        chunk = lab.chunk(task(value))
        worker.send(chunk)
        (outcome,) = await ear.outcomes_of(chunk.id, 1)
        assert isinstance(outcome, TimedOut | Failed)
        assert notes_of(lab) == []
    await worker.stop(30)
    assert notes_of(lab) == ["closed in order"]


async def test_a_sync_handler_that_times_out_on_the_loop_of_its_setup_leaves_it_in_order(lab: Lab) -> None:
    worker, ear = await lab.start(
        NOTES
        + """
async def connect():
    yield asyncio.get_running_loop()
    await asyncio.sleep(0)
    note("closed")

@function("orders", setup=connect, timeout=2)
def handle(data: dict, ctx: Context[asyncio.AbstractEventLoop]) -> None:
    ctx.state.run_until_complete(asyncio.Event().wait() if "late" in data else asyncio.sleep(0))
"""
    )
    for value, ends in ((b'{"late": 1}', TimedOut), (b"{}", type(None))):
        chunk = lab.chunk(task(value))
        worker.send(chunk)
        assert [type(one) for one in await ear.outcomes_of(chunk.id, 1)] == [ends]
    await worker.stop(30)
    assert notes_of(lab) == ["closed"]


async def test_a_setup_sees_the_secrets_of_its_function(lab: Lab) -> None:
    worker, _ = await lab.start(
        NOTES
        + """
def login():
    note(os.environ["PASSWORD"])
    yield

@function("orders", setup=login, sandbox=Sandbox(secrets=["PASSWORD"]))
def handle(data: dict) -> None: ...
""",
        environment={"PASSWORD": "open sesame"},
    )
    assert notes_of(lab) == ["open sesame"]
    await worker.stop(30)


@pytest.mark.parametrize("kind", ["", "async "])
@pytest.mark.parametrize(("behind", "says"), [("1 / 0", "ZeroDivisionError"), ("yield 2", "it yielded a second time")])
async def test_what_goes_wrong_behind_the_yield_is_logged_and_ends_nothing_else(
    lab: Lab, kind: str, behind: str, says: str
) -> None:
    worker, ear = await lab.start(
        f"""
{kind}def careless():
    yield 1
    {behind}

@function("orders", setup=careless)
{kind}def handle(data: dict) -> None: ...
"""
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    await worker.stop(30)
    assert (await ear.death()).reason == "stopped"
    (line,) = [line for line in ear.lines if line.stream == "log"]
    assert (line.level, line.event) == ("error", None)
    assert "the setup of handle failed when it was closed" in line.text
    assert says in line.text


async def test_closing_is_bounded_by_the_grace_of_the_worker(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
def clings():
    yield
    threading.Event().wait()

@function("orders", setup=clings)
def handle(data: dict) -> None: ...
"""
    )
    await worker.stop(0.2)
    assert (await ear.death()).detail == "killed on request"


async def test_a_pool_closes_the_setups_of_workers_without_work(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.sandbox.pool.IDLE_GRACE", 60.0)
    lab.write(
        NOTES
        + """
def slow_to_close():
    yield
    while not Path("go").exists():
        time.sleep(0.01)
    note("closed")

@function("orders", setup=slow_to_close)
def handle(data: dict) -> None: ...
"""
    )
    pool = Pool(lab.zygote, await lab.spec(), Ear(), least=2, most=2, idle=60)
    await pool.open()
    closing = asyncio.create_task(pool.close(0.01))  # what runs an event would have so long
    workers = [stop for stop in asyncio.all_tasks() if stop.get_name().startswith("stop of worker")]
    while not workers:
        await asyncio.sleep(0)
        workers = [stop for stop in asyncio.all_tasks() if stop.get_name().startswith("stop of worker")]
    (lab.folder / "go").touch()
    await closing
    assert notes_of(lab) == ["closed", "closed"]


async def test_a_killed_worker_runs_nothing_more_of_its_setup(lab: Lab) -> None:
    worker, ear = await lab.start(COUNTS % {"setup": "", "handler": "", "concurrency": 1})
    os.kill(worker.pid, signal.SIGKILL)
    assert (await ear.death()).reason == "signalled"
    assert notes_of(lab) == ["opened"]
