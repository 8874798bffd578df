"""`setup=` that fails: no worker starts, no event is charged, and it goes on when the cause is gone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from lab import Ear, Lab, wait_until
from stage import stage

from headrace.functions.errors import SandboxError, TargetError
from headrace.sandbox.pool import Pool

NOTES = """
NOTES = Path(os.environ.get("NOTES", "notes"))

def note(text):
    with NOTES.open("a") as notes:
        notes.write(text + chr(10))
"""


FAILS = {
    "raise ConnectionRefusedError('no mail server'); yield": "ConnectionRefusedError: no mail server",
    "sys.exit(3); yield": "SystemExit: 3",
    "raise KeyboardInterrupt; yield": "KeyboardInterrupt",
    "if False: yield": "it ended without a yield",
    "asyncio.get_running_loop().no_such_thing; yield": "Error",
}


@pytest.mark.parametrize("body", FAILS)
@pytest.mark.parametrize("kind", ["", "async "])
async def test_a_setup_that_fails_is_told_with_its_place(lab: Lab, kind: str, body: str) -> None:
    source = f"""
{kind}def broken():
    {body}

@function("orders", setup=broken)
{kind}def handle(data: dict) -> None: ...
"""
    with pytest.raises(TargetError, match=r"functions\.py:\d+: the setup of handle failed: ") as raised:
        await lab.start(source)
    assert FAILS[body] in str(raised.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [("os._exit(4)", "exited by itself with code 4"), ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL")],
)
async def test_a_setup_that_ends_the_process_is_told(lab: Lab, body: str, says: str) -> None:
    source = f"""
def broken():
    print("about to end", file=sys.stderr)
    {body}
    yield

@function("orders", setup=broken)
def handle(data: dict) -> None: ...
"""
    with pytest.raises(SandboxError, match=r"functions\.py:\d+: the setup of handle ended the worker: ") as raised:
        await lab.start(source)
    assert says in str(raised.value)
    assert "about to end" in str(raised.value)


async def test_a_setup_that_takes_too_long_is_ended_and_told(lab: Lab) -> None:
    lab.write(
        """
def waits():
    threading.Event().wait()
    yield

@function("orders", setup=waits)
def handle(data: dict) -> None: ...
"""
    )
    spec, children = await lab.spec(), Path(f"/proc/{lab.zygote.pid}/task/{lab.zygote.pid}/children")
    with pytest.raises(TargetError, match=r"the setup of handle took more than 0\.3 s; let what it waits for give up"):
        await lab.zygote.spawn(spec, Ear(), setup_timeout=0.3)
    await wait_until(lambda: not children.read_text().split(), "the end of the worker")


async def test_a_failing_setup_is_a_problem_of_the_pool_until_its_cause_goes_away(lab: Lab) -> None:
    lab.write(
        NOTES
        + """
def needs_server():
    if not Path("server").exists():
        raise ConnectionRefusedError("no server")
    yield

@function("orders", setup=needs_server)
def handle(data: dict) -> None: ...
"""
    )
    problems: asyncio.Queue[str] = asyncio.Queue()
    ready: asyncio.Queue[object] = asyncio.Queue()
    pool = Pool(
        lab.zygote,
        await lab.spec(),
        Ear(),
        least=0,
        most=1,
        idle=60,
        on_ready=ready.put_nowait,
        on_problem=problems.put_nowait,
    )
    await pool.open()
    pool.demand()
    for _ in range(2):  # tried again by itself
        assert "the setup of handle failed: ConnectionRefusedError: no server" in await problems.get()
        assert pool.problem is not None
    (lab.folder / "server").touch()
    await asyncio.wait_for(ready.get(), 60)
    assert pool.problem is None
    await pool.close(5)


async def test_a_function_whose_setup_fails_is_paused_and_goes_on_uncharged_when_the_cause_is_gone(
    tmp_path: Path,
) -> None:
    source = """
async def needs_server():
    if not Path("server").exists():
        raise ConnectionRefusedError("no server")
    yield "connected"

@function("orders", emits="out", setup=needs_server)
async def handle(data: dict, ctx: Context[str]) -> None:
    ctx.emit("out", [ctx.state, ctx.attempt])
"""
    async with stage(tmp_path, source, ("a", {}), ("b", {})) as scene:
        paused = "the setup of handle failed: ConnectionRefusedError: no server"
        await scene.seen.until(
            lambda: any(state == "paused" and paused in reason for state, reason in scene.seen.states)
        )
        assert paused in scene.engine.blocked[0]
        (tmp_path / "server").touch()
        await scene.seen.until(lambda: len(scene.seen.results) == 2)
        await scene.idle()
        assert [json.loads(record.value or b"") for record in await scene.records("out")] == [["connected", 1]] * 2
        assert await scene.letters("handle") == []
        assert scene.engine.blocked == []
