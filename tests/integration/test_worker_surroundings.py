"""What a worker is given, and what it can see: its own secrets, folder and files, and nothing else of ours."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from lab import SAYS, Lab, open_lab, task, wait_until

from headrace.sandbox.outcome import Done, Failed

ONE = """
@function("orders")
def %s(data: dict) -> None:
    "Says what it does."
"""


async def test_user_code_is_imported_in_workers_only(lab: Lab) -> None:
    log = lab.folder / "pids"
    worker, _ = await lab.start(f"Path({str(log)!r}).open('a').write(f'{{os.getpid()}}\\n')" + ONE % "one")
    pids = [int(line) for line in log.read_text().split()]
    assert len(pids) == 2  # the manifest's and the function's
    assert worker.pid in pids
    assert os.getpid() not in pids
    assert lab.zygote.pid not in pids
    assert "functions" not in sys.modules


async def test_a_worker_has_its_secrets_and_nothing_else_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SECRET", "for somebody else")
    async with open_lab(tmp_path) as lab:
        names = await lab.told("dict(os.environ)", environment={"TOKEN": "s3cret"})
    assert isinstance(names, dict)
    assert names["TOKEN"] == "s3cret"
    assert "OTHER_SECRET" not in names
    assert names["HOME"] == names["TMPDIR"]


async def test_a_secret_is_in_no_other_process(lab: Lab) -> None:
    worker, _ = await lab.start(ONE % "one", environment={"TOKEN": "s3cret-" + "x" * 20})
    block = b"s3cret-" + b"x" * 20
    for pid in (lab.zygote.pid, worker.pid):  # the worker's is the zygote's: what it was started with
        assert block not in Path(f"/proc/{pid}/environ").read_bytes()
    assert block not in Path(f"/proc/{lab.zygote.pid}/cmdline").read_bytes()


async def test_a_worker_has_a_folder_of_its_own_that_goes_with_it(lab: Lab) -> None:
    worker, ear = await lab.start(SAYS % "os.environ['TMPDIR']")
    chunk = lab.chunk(task())
    worker.send(chunk)
    (outcome,) = await ear.outcomes_of(chunk.id, 1)
    assert isinstance(outcome, Done)
    folder = Path(json.loads(outcome.emits[0].value or b"")[0])
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "left behind").touch()
    await worker.stop(5)
    await wait_until(lambda: not folder.exists(), "its removal")


async def test_a_worker_has_no_file_open_but_its_own(tmp_path: Path) -> None:
    inherited = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        async with open_lab(tmp_path) as lab:
            found = await lab.told("sorted(os.readlink(entry.path) for entry in os.scandir('/proc/self/fd'))")
    finally:
        os.close(inherited)
    assert isinstance(found, list)
    ours = [path for path in found if not path.startswith("/proc/")]  # the look itself opens that folder
    assert [path.partition(":")[0] for path in ours] == ["/dev/null", "/memfd", "pipe", "pipe", "socket"]


async def test_a_worker_loads_nothing_of_the_runtime(lab: Lab) -> None:
    loaded = await lab.told("[name for name in sys.modules if name.startswith('headrace.')]")
    assert isinstance(loaded, list)
    assert "headrace.functions.declare" in loaded
    assert [name for name in loaded if name.startswith(("headrace.runtime", "headrace.triggers", "headrace.cli"))] == []


async def test_a_worker_is_behind_its_limits(lab: Lab) -> None:
    limits = (
        "[__import__('resource').getrlimit(n) for n in (4, 7, 1)]"
        " + [open('/proc/self/oom_score_adj').read().strip(), os.getsid(0) == os.getpid(), os.umask(0), os.nice(0),"
        " 'NoNewPrivs:\\t1' in open('/proc/self/status').read(), os.getcwd()]"
    )
    assert await lab.told(limits) == [
        [0, 0], [256, 256], [64 << 20, 64 << 20], "1000", True, 0o077, 5, True, str(lab.folder),
    ]  # fmt: skip


async def test_memory_beyond_the_limit_is_a_memory_error(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", sandbox=Sandbox(memory=64 << 20))
        def hoard(data: dict) -> None:
            bytearray(100 << 20)
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1))
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 2)
    assert [outcome.failure.type for outcome in outcomes if isinstance(outcome, Failed)] == ["MemoryError"] * 2


async def test_a_child_that_user_code_forks_while_it_is_imported_serves_nothing_and_says_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    worker, ear = await lab.start(
        f"""
        child = os.fork()
        with open({str(pids)!r}, "a") as file:
            print(os.getpid(), file=file)

        @function("orders")
        def handle(data: dict) -> None: ...
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1))
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 2) == [None, None]
    await wait_until(lambda: len(pids.read_text().split()) == 4, "each to be imported: for the manifest, too")
    others = set(map(int, pids.read_text().split())) - {worker.pid}
    await wait_until(lambda: all(state_of(pid) in {"", "Z"} for pid in others), "the others to end")
    assert ear.lines == []


def state_of(pid: int) -> str:
    """As the kernel has it; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
