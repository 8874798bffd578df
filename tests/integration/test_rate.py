"""`rate=` with the real engine and real workers: all is handled, however few may start at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import stage

from headrace.sandbox.outcome import NotRun


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ("", ""),
        ("workers=3", ""),
        ("concurrency=8", "async "),
        ("workers=2, concurrency=8, order='none'", "async "),
        ("order='partition'", ""),
    ],
)
async def test_all_is_handled_under_a_rate_with_any_number_of_workers_at_once(
    tmp_path: Path, options: str, kind: str
) -> None:
    source = f"""
@function("orders", rate=200.0, retry=Retry(delay=0.01), {options})
{kind}def handle(data: dict, ctx: Context) -> None:
    if data["n"] % 10 == 0 and ctx.attempt == 1:
        raise ValueError("once")
"""
    async with stage(tmp_path, source, *((f"k{n % 7}", {"n": n}) for n in range(60))) as scene:
        await scene.idle()
        ran = [result for result in scene.seen.results if not isinstance(result.outcome, NotRun)]
        assert len(ran) == 66, "each once, and six of them again"
        assert await scene.letters("handle") == []


async def test_a_function_that_waits_for_its_rate_is_running_and_ends_at_once_when_told_to(tmp_path: Path) -> None:
    source = """
@function("orders", rate=0.001)  # the second one in a quarter of an hour
def handle(data: dict) -> None: ...
"""
    async with stage(tmp_path, source, *((f"k{n}", {}) for n in range(5))) as scene:
        await scene.seen.until(lambda: scene.seen.results)
        (served,) = scene.engine.subscriptions
        assert served.status.state.value == "running"
        assert served.dispatch.resumes_ms is not None
    assert len(scene.seen.results) == 1
