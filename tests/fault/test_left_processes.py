"""Processes that are left: of a handler, of the zygote, of a parent that was killed; in the end there is none."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lab import Ear, Lab, open_lab, task, wait_until

from headrace.sandbox import child
from headrace.sandbox.process import Worker

STUCK = """
reader, writer = socket.socketpair()

def spin():
    while True: pass

@function("orders", timeout=0.2)
%sdef handle(data: dict) -> None:
    if data:
        %s
"""


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # reaped before it was opened, or before it was read
        return True
    return state == "Z"


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


@pytest.mark.parametrize(
    ("options", "payload", "imports"),
    [("", "dict", ""), ("batch=Batch()", "list[dict]", "from headrace import Batch")],
)
async def test_a_forked_child_that_returns_reports_nothing(lab: Lab, options: str, payload: str, imports: str) -> None:
    worker, ear = await lab.start(
        f"""
        {imports}

        @function("orders", {options})
        def fork(data: {payload}) -> None:
            print(os.getpid())
            if (pid := os.fork()):
                assert os.waitpid(pid, 0)[1] == 0
        """
    )
    chunks = [lab.chunk(task(offset=2 * n), task(offset=2 * n + 1)) for n in range(2)]
    for chunk in chunks:
        worker.send(chunk)
    for chunk in chunks:
        assert await ear.outcomes_of(chunk.id, 2) == [None, None]
    await worker.stop(5)
    assert {line.text for line in ear.lines} == {str(worker.pid)}, "no event is run by a child, and none complains"
    assert [death.reason for death in ear.deaths] == ["stopped"]


async def test_a_child_that_is_forked_while_set_up_serves_nobody(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        def forks():
            if (pid := os.fork()):
                assert os.waitpid(pid, 0)[1] == 0
            yield
            if (pid := os.fork()):
                assert os.waitpid(pid, 0)[1] == 0
            print("closed")

        @function("orders", setup=forks)
        def handle(data: dict) -> None: ...
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    await worker.stop(5)
    assert {line.text for line in ear.lines} <= {"closed"}
    assert [death.reason for death in ear.deaths] == ["stopped"]


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
    children = Path(f"/proc/{lab.zygote.pid}/task/{lab.zygote.pid}/children")
    await wait_until(  # with any worker the zygote kills all that is left, whoever left it
        lambda: children.read_text().split() == [str(worker.pid)], "the end of the manifest's"
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


async def test_a_worker_that_died_is_not_ended_for_hanging_up_however_late_its_status_comes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "HANG_UP", 0.0)
    worker, ear = await lab.start(STUCK % ("", "spin()"))
    ended, end = asyncio.Event(), worker.end
    monkeypatch.setattr(worker, "end", lambda *why: (end(*why), ended.set()))
    hang_up = worker.hung_up
    monkeypatch.setattr(worker, "hung_up", lambda: None)
    assert lab.zygote.pid is not None
    os.kill(lab.zygote.pid, signal.SIGSTOP)
    os.kill(worker.pid, signal.SIGKILL)
    await wait_until(lambda: select.select([worker._seat.pidfd], [], [], 0)[0], "the worker's end")
    hang_up()
    await ended.wait()
    os.kill(lab.zygote.pid, signal.SIGCONT)
    assert (await ear.death()).reason == "signalled"


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


@asynccontextmanager
async def parent_of_a_busy_worker(tmp_path: Path) -> AsyncIterator[tuple[Process, Path, list[int]]]:
    """Another process as the parent, its folder for temporary files, and what it has: zygote, worker, grandchild."""
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
    try:
        yield parent, folder, pids
    finally:
        if parent.returncode is None:
            parent.kill()
            await parent.wait()


async def test_nothing_is_left_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    async with parent_of_a_busy_worker(tmp_path) as (parent, folder, pids):
        assert any(folder.iterdir())
        parent.kill()
        await parent.wait()
        for pid in pids:
            await wait_until(lambda pid=pid: gone(pid), f"the end of {pid}")
        assert not any(folder.iterdir())


async def test_a_worker_that_ended_before_its_parent_was_killed_leaves_no_folder(tmp_path: Path) -> None:
    async with parent_of_a_busy_worker(tmp_path) as (parent, folder, pids):
        parent.send_signal(signal.SIGSTOP)
        zygote, worker, _ = pids
        os.kill(worker, signal.SIGKILL)
        await wait_until(lambda: not Path(f"/proc/{worker}").exists(), "its being reaped")
        assert any(folder.iterdir())
        parent.kill()
        await parent.wait()
        await wait_until(lambda: gone(zygote), "the end of the zygote")
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
