"""Batches the whole way, from the log to the log: who pays when one fails, and when one is full."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from stage import Stage, stage

ORDER = """
from headrace import Batch

class Order(BaseModel):
    n: int
    how: str = ""

class Seen(BaseModel):
    n: int
"""


def order(n: int, how: str = "") -> bytes:
    return json.dumps({"n": n, "how": how}).encode()


NOTED = (
    ORDER
    + """
@function("orders", emits="out", batch=Batch(size=%(size)d, wait=0.05), retry=Retry(attempts=2, delay=0.01), %(more)s)
%(kind)sdef handle(orders: list[Order], ctx: Context) -> None:
    for i, one in enumerate(orders):
        ctx.emit("out", [one.n, ctx.attempt, ctx.events[i].key], cause=i)
    for one in orders:
        match one.how:
            case "crash": os._exit(7)
            case "raise": raise ValueError("poison")
            case "hang": time.sleep(60)
            case "stuck": signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]), time.sleep(60)
"""
)


async def emitted(scene: Stage) -> list[tuple[int, int, str]]:
    return [tuple(json.loads(record.value or b"")) for record in await scene.records("out")]


@pytest.mark.parametrize(("how", "error"), [("crash", "WorkerCrashed"), ("raise", "ValueError")])
@pytest.mark.parametrize(
    ("kind", "more"), [("", ""), ("", "workers=2"), ("async ", "concurrency=3"), ("", "order='partition'")]
)
async def test_one_poison_among_a_hundred_is_the_only_dead_letter_and_nobody_else_is_charged(
    tmp_path: Path, how: str, error: str, kind: str, more: str
) -> None:
    events = [(f"k{n % 9}", {"n": n, "how": how if n == 57 else ""}) for n in range(100)]
    async with stage(tmp_path, NOTED % {"size": 100, "kind": kind, "more": more}, *events) as scene:
        await scene.idle()
        (letter,) = await scene.letters("handle")
        assert (letter["headrace-origin-offset"], letter["headrace-attempt"]) == ("57", "2")
        assert letter["headrace-error-type"] == error
        done = await emitted(scene)
        assert Counter(n for n, _, _ in done) == Counter(n for n in range(100) if n != 57)
        assert {attempt for _, attempt, _ in done} == {1}, "innocents stay at their first attempt"
        for key in {key for _, _, key in done}:
            numbers = [n for n, _, its in done if its == key]
            assert numbers == sorted(numbers), "in the order of their key"


@pytest.mark.parametrize("how", ["hang", "stuck"])
async def test_a_timeout_is_of_the_whole_batch_and_found_out_by_dividing_it(tmp_path: Path, how: str) -> None:
    events = [(f"k{n}", {"n": n, "how": how if n == 2 else ""}) for n in range(4)]
    source = NOTED % {"size": 4, "kind": "", "more": "timeout=2"}
    async with stage(tmp_path, source.replace("attempts=2", "attempts=1"), *events) as scene:
        await scene.idle()
        (letter,) = await scene.letters("handle")
        assert (letter["headrace-origin-offset"], letter["headrace-error-type"]) == ("2", "HandlerTimeout")
        assert sorted(await emitted(scene)) == [(n, 1, f"k{n}") for n in (0, 1, 3)]


async def test_events_that_fail_by_name_are_charged_each_for_itself_and_keep_their_lanes_in_order(
    tmp_path: Path,
) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=20, wait=0.05), retry=Retry(attempts=3, delay=0.01))
def handle(orders: list[Order], ctx: Context) -> list[dict]:
    for i, one in enumerate(orders):
        if one.how == "once" and ctx.attempt == 1 or one.how == "always":
            ctx.fail(i, ValueError(one.how))
    return [{"n": one.n, "attempt": ctx.attempt, "of": len(orders)} for one in orders]
"""
    )
    hows = {3: "once", 7: "always", 12: "once"}
    events = [(f"k{n % 4}", {"n": n, "how": hows.get(n, "")}) for n in range(40)]
    async with stage(tmp_path, source, *events) as scene:
        await scene.idle()
        (letter,) = await scene.letters("handle")
        assert (letter["headrace-origin-offset"], letter["headrace-attempt"]) == ("7", "3")
        done = [json.loads(record.value or b"") for record in await scene.records("out")]
        assert sorted(one["n"] for one in done) == [n for n in range(40) if n != 7]
        assert {one["n"]: (one["attempt"], one["of"]) for one in done if one["attempt"] > 1} == {3: (2, 1), 12: (2, 1)}
        for lane in range(4):
            numbers = [one["n"] for one in done if one["n"] % 4 == lane]
            assert numbers == sorted(numbers)


async def test_a_batch_is_what_is_there_when_its_wait_is_over_and_full_ones_do_not_wait(tmp_path: Path) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=10, wait=%s))
def handle(orders: list[Order], ctx: Context) -> None:
    ctx.emit("out", len(orders), cause=0)
"""
    )
    events = [(f"k{n}", {"n": n}) for n in range(23)]
    (tmp_path / "short").mkdir()
    async with stage(tmp_path / "short", source % "0.2", *events) as scene:
        await scene.idle()
        assert [json.loads(record.value or b"") for record in await scene.records("out")] == [10, 10, 3]
    (tmp_path / "long").mkdir()
    async with stage(tmp_path / "long", source % "3600.0", *events) as scene:
        await scene.seen.until(lambda: len(scene.seen.results) == 20)
        (served,) = scene.engine.subscriptions
        assert served.status.state.value == "running", "a batch fills"
        await scene.emit((f"k{n}", {"n": n}) for n in range(7))
        await scene.seen.until(lambda: len(scene.seen.results) == 30)
        await scene.emit([("k", {"n": 1})])
    assert len(scene.seen.results) == 30, "what fills when the runtime is asked to end stays for the next"


async def test_batches_keep_to_a_rate(tmp_path: Path) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=10, wait=0.05), rate=0.01)  # one more in 100 s
def handle(orders: list[Order], ctx: Context) -> None:
    ctx.emit("out", len(orders), cause=0)
"""
    )
    async with stage(tmp_path, source, *((f"k{n}", {"n": n}) for n in range(30))) as scene:
        await scene.seen.until(lambda: len(scene.seen.results) == 10)
        (served,) = scene.engine.subscriptions
        assert served.dispatch.resumes_ms is not None
    assert [json.loads(record.value or b"") for record in await scene.records("out")] == [10]


async def test_a_worker_killed_from_outside_costs_a_batch_nothing(tmp_path: Path) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=8, wait=0.05))
def handle(orders: list[Order], ctx: Context) -> None:
    for i, one in enumerate(orders):
        ctx.emit("out", [one.n, ctx.attempt, ""], cause=i)
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    async with stage(tmp_path, source, *((f"k{n % 3}", {"n": n}) for n in range(8))) as scene:
        await scene.idle()
        assert sorted(await emitted(scene)) == [(n, 1, "") for n in range(8)]
        assert await scene.letters("handle") == []
