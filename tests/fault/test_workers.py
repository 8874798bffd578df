"""Handlers that misbehave: each hurts itself and nobody else, and the parent learns what happened."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from lab import Ear, Lab, open_lab, task, wait_until

from headrace.sandbox.outcome import Crashed, Done, Emitted, Failed, Failure, Postponed, TimedOut
from headrace.sandbox.process import Worker
from headrace.sandbox.wire import MAX_REPORT, VERSION, Broken, Ready, Report, frame


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as lab:
        yield lab


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


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

        @function("orders", timeout=0.1)
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


# -- forged frames ----------------------------------------------------------------------------------------------------

FORGER = """
@function("orders", emits="out")
def forge(data: dict) -> None:
    os.write(3, Path(%r).read_bytes())
    threading.Event().wait()
"""


def emit(topic: str = "out", partition: int = 0, headers: bytes = b"", value: bytes = b"", timestamp: int = 0) -> Done:
    return Done([Emitted(topic, partition, timestamp, None, value, headers, "id")])


def report(chunk: int, *outcomes: object, first: int = 0, spent: int = 0) -> bytes:
    return frame(Report(chunk, first, list(outcomes), spent))  # type: ignore[arg-type]


FAILURE = Failure("ValueError", "odd")
FORGED = {
    "an oversized length": struct.pack("<I", MAX_REPORT + 1) + b"x",
    "the largest length": b"\xff\xff\xff\xff",
    "no msgpack": struct.pack("<I", 3) + b"\xc1\xc1\xc1",
    "no reply": struct.pack("<I", 2) + msgspec.msgpack.encode([9]),
    "a command": frame(Broken("import", FAILURE)),
    "a second ready": frame(Ready(VERSION, "code")),
    "an unknown chunk": report(99, None),
    "an index ahead": report(1, None, first=1),
    "an index before": report(1, None, first=-1),
    "more than it was given": report(1, None, None, None),
    "nothing": report(1),
    "the same twice": report(1, None) + report(1, None),
    "a crash": report(1, Crashed(FAILURE)),
    "an undeclared topic": report(1, emit("elsewhere")),
    "a partition too many": report(1, emit(partition=4)),
    "a partition below": report(1, emit(partition=-1)),
    "a value too large": report(1, emit(value=b"x" * ((1 << 20) + 1))),
    "headers that are none": report(1, emit(headers=b"\xc1")),
    "a time beyond": report(1, emit(timestamp=1 << 63)),
    "a rule there is not": report(1, Failed(FAILURE, 1)),
    "a wait without end": report(1, Postponed(float("inf"))),
    "a wait of no number": report(1, Postponed(float("nan"))),
    "a book of a failure": report(1, Failed(Failure("x", "y" * (1 << 20)))),
    "a time that took no time": report(1, None, spent=-1),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_frame_ends_its_worker(lab: Lab, forged: bytes) -> None:
    file = lab.folder / "forged"
    file.write_bytes(forged)
    worker, ear = await lab.start(FORGER % str(file))
    chunk = lab.chunk(task(offset=0), task(offset=1))
    assert chunk.id == 1
    worker.send(chunk)
    death = await ear.death()
    assert death.reason == "protocol", death
    assert "the worker sent" in death.detail


async def test_a_broken_protocol_does_not_disturb_a_neighbour(lab: Lab) -> None:
    neighbour, told = await lab.start('@function("orders")\ndef quiet(data: dict) -> None: ...\n')
    file = lab.folder / "forged"
    file.write_bytes(FORGED["an oversized length"])
    worker, ear = await lab.start(FORGER % str(file))
    worker.send(lab.chunk(task()))
    await ear.death()
    chunk = lab.chunk(task())
    neighbour.send(chunk)
    assert await told.outcomes_of(chunk.id, 1) == [None]


async def test_forged_lines_are_only_lines(lab: Lab) -> None:
    worker, ear = await lab.start(
        r"""
        @function("orders")
        def forge(data: dict) -> None:
            for line in (b'\x1e', b'\x1e[1,2]', b'\x1e{"a":1}', b'\x1e[["x"],"stdout",{},5,[]]', b'\x1e' + b'[' * 9000,
                         b'\xff\xfe', b'x' * 500_000, b'\x1e["e","elsewhere","spoofed",null,null]'):
                os.write(1, line + b'\n')
        """
    )
    worker.send(lab.chunk(task()))
    line = await ear.line("spoofed")
    assert (line.stream, line.event) == ("stdout", "e")
    assert max(len(line.text) for line in ear.lines) <= 16_000
    assert ear.deaths == []


# -- processes that are left ------------------------------------------------------------------------------------------


async def test_a_forked_child_takes_no_frames(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def fork(data: dict) -> None:
            if os.fork() == 0:
                time.sleep(1000)
        """
    )
    chunk = lab.chunk(*[task(offset=n) for n in range(3)])
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 3) == [None] * 3
    assert ear.deaths == []


async def test_a_forked_child_that_returns_reports_nothing(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def fork(data: dict) -> None:
            if (pid := os.fork()):
                os.waitpid(pid, 0)
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]


async def test_what_a_worker_leaves_behind_goes_with_it(lab: Lab, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    worker, ear = await lab.start(
        f"""
        @function("orders")
        def daemon(data: dict) -> None:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    Path({str(pids)!r}).write_text(f"{{os.getpid()}} ")
                    time.sleep(1000)
                os._exit(0)
            while not (os.path.exists({str(pids)!r}) and Path({str(pids)!r}).read_text().endswith(" ")):
                time.sleep(0.01)
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    daemon = int(pids.read_text())
    assert not gone(daemon)
    worker.kill()
    await ear.death()
    await wait_until(lambda: gone(daemon), "the end of the daemon")


async def test_workers_die_with_their_zygote_and_another_serves(lab: Lab) -> None:
    worker, ear = await lab.start(STUCK % ("", "spin()"))
    chunk = lab.chunk(task(b'{"bad": 1}'))
    worker.send(chunk)
    first = lab.zygote.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert (await ear.death()).reason == "zygote"
    await wait_until(lambda: gone(worker.pid), "the worker's end")
    second, ear = await lab.start(STUCK % ("", "spin()"))
    assert lab.zygote.pid != first
    chunk = lab.chunk(task())
    second.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]


PARENT = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from lab import Ear, Lab, open_lab, task

async def main():
    async with open_lab(Path({folder!r})) as lab:
        worker, ear = await lab.start({source!r})
        worker.send(lab.chunk(task()))
        await ear.line("up")
        print(lab.zygote.pid, worker.pid, *(line.text for line in ear.lines if line.text.isdigit()), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
BUSY = """
@function("orders")
def busy(data: dict) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
    print("up")
    while True: pass
"""


async def test_nothing_is_left_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    support = str(Path(__file__).parents[1] / "support")
    script = PARENT.format(path=[support], folder=str(tmp_path), source=BUSY)
    folder = tmp_path / "temporary"
    folder.mkdir()
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    assert len(pids) == 3
    assert not any(gone(pid) for pid in pids)
    assert any(folder.iterdir())
    parent.kill()
    await parent.wait()
    for pid in pids:
        await wait_until(lambda pid=pid: gone(pid), f"the end of {pid}")
    assert not any(folder.iterdir())


async def test_a_parent_that_ends_in_order_leaves_nothing_either(tmp_path: Path) -> None:
    async with open_lab(tmp_path) as lab:
        worker, ear = await lab.start(BUSY)
        worker.send(lab.chunk(task()))
        await ear.line("up")
        pids = [lab.zygote.pid, worker.pid, *(int(line.text) for line in ear.lines if line.text.isdigit())]
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids if pid is not None)
    assert [death.reason for death in ear.deaths] == ["stopped"]


async def test_a_worker_that_reads_nothing_does_not_hold_the_parent_up(lab: Lab) -> None:
    worker, ear = await lab.start('@function("orders")\ndef wait(data: bytes) -> None:\n    threading.Event().wait()\n')
    for _ in range(50):
        worker.send(lab.chunk(task(b"x" * 1_000_000)))  # returns at once, or this test never ends
    assert worker.in_flight == 50
    assert isinstance(worker, Worker)
    worker.kill()
    assert (await ear.death()).reason == "stopped"


async def test_stopping_a_stuck_worker_ends_with_its_grace(lab: Lab) -> None:
    worker, ear = await lab.start(STUCK.replace("0.2", "1000") % ("", "spin()"))
    worker.send(lab.chunk(task(b'{"bad": 1}')))
    await worker.stop(0.1)
    assert [death.reason for death in ear.deaths] == ["stopped"]
    await worker.stop(0.1)  # again is no harm
    assert isinstance(ear, Ear)
