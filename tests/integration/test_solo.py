"""One event at a time in a real worker, and what becomes of it when that worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from lab import Lab, task

from headrace.functions.errors import SandboxError
from headrace.runtime.solo import Solo
from headrace.sandbox.outcome import Crashed, Done, Failed, TimedOut
from headrace.sandbox.process import Line, WorkerSpec

HANDLES = """
@function("orders", emits="pids", timeout=%s)
def handle(data: dict, ctx: Context) -> None:
    print("started", flush=True)
    match data:
        case {"do": "exit"}:
            os._exit(3)
        case {"do": "raise"}:
            raise ValueError("broken")
        case {"do": "hang"}:
            ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock: it cannot be interrupted
        case {"do": "wait"}:
            while not os.path.exists(os.environ["GATE"]):
                time.sleep(0.001)
    ctx.emit("pids", os.getpid())
"""


async def spec_of(lab: Lab, timeout: float = 60, **environment: str) -> WorkerSpec:
    lab.write(HANDLES % timeout)
    return await lab.spec(environment=environment)


def what(word: str) -> bytes:
    return b'{"do": "%s"}' % word.encode()


async def test_events_are_run_one_after_another_in_one_worker_and_what_is_printed_is_told(lab: Lab) -> None:
    lines: list[Line] = []
    solo = Solo(lab.zygote, await spec_of(lab), lines.extend)
    worker = await solo.start()
    outcomes = [await solo.run(lab.chunk(task(what(word), epoch=nth))) for nth, word in enumerate(["", "raise", ""])]
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done]
    assert [pid(outcomes[0]), pid(outcomes[2])] == [worker.pid] * 2
    await solo.close(5.0)
    assert [line.text for line in lines] == ["started"] * 3


@pytest.mark.parametrize(("word", "kind"), [("exit", Crashed), ("hang", TimedOut)])
async def test_whoever_kills_the_worker_ends_with_it_and_the_next_has_another(
    lab: Lab, word: str, kind: type[Crashed | TimedOut]
) -> None:
    lines: list[Line] = []
    solo = Solo(lab.zygote, await spec_of(lab, 1.0 if word == "hang" else 60), lines.extend)
    first = await solo.start()
    guilty = await solo.run(lab.chunk(task(what(word))))
    assert isinstance(guilty, kind)
    assert [line.text for line in lines] == ["started"], "it was run once"
    assert pid(await solo.run(lab.chunk(task()))) != first.pid
    await solo.close(5.0)


async def test_a_worker_that_died_between_two_events_costs_neither(lab: Lab) -> None:
    solo = Solo(lab.zygote, await spec_of(lab), list)
    first = pid(await solo.run(lab.chunk(task())))
    os.kill(first, signal.SIGKILL)
    assert pid(await solo.run(lab.chunk(task()))) != first
    await solo.close(5.0)


async def test_an_event_whose_worker_died_with_the_zygote_is_run_again(lab: Lab, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    spec = await spec_of(lab, GATE=str(gate))
    lines: list[Line] = []

    def hear(news: Sequence[Line]) -> None:
        lines.extend(news)
        assert lab.zygote.pid is not None
        gate.touch() if len(lines) > 1 else os.kill(lab.zygote.pid, signal.SIGKILL)

    solo = Solo(lab.zygote, spec, hear)
    assert isinstance(await solo.run(lab.chunk(task(what("wait")))), Done)
    assert [line.text for line in lines] == ["started"] * 2
    await solo.close(5.0)


async def test_what_three_workers_have_not_run_has_crashed_and_the_last_death_says_why(lab: Lab) -> None:
    deaths = 0

    def hear(news: Sequence[Line]) -> None:
        nonlocal deaths
        deaths += len(news)
        assert lab.zygote.pid is not None
        os.kill(lab.zygote.pid, signal.SIGKILL)

    solo = Solo(lab.zygote, await spec_of(lab, GATE="/nowhere"), hear)
    outcome = await solo.run(lab.chunk(task(what("wait"))))
    assert isinstance(outcome, Crashed)
    assert (outcome.failure.type, outcome.failure.fingerprint) == ("WorkerCrashed", "WorkerCrashed")
    assert "the process that workers are forked from died" in outcome.failure.message
    assert deaths == 3


async def test_without_a_function_there_is_nothing_to_run(lab: Lab) -> None:
    lab.write(HANDLES % 60)
    reads_the_manifest = WorkerSpec((await lab.spec()).target, None, "shop", "c", {}, {})
    with pytest.raises(SandboxError, match="names none"):
        Solo(lab.zygote, reads_the_manifest, list)


def pid(outcome: object) -> int:
    """Of the worker that did it."""
    assert isinstance(outcome, Done), outcome
    return int(outcome.emits[0].value or b"")
