"""Other code under a running engine, with real files and real workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import wait_until
from stage import Stage, stage

from headrace.functions.errors import DeclarationError, SettingsError, TargetError
from headrace.runtime.reload import Reloaded
from headrace.sandbox.outcome import Done

SAY = """
@function("orders", emits="out")
def note(order: dict, ctx: Context) -> None:
    ctx.emit("out", "{word}")
"""

# Says that it runs, then waits for a file to be there.
WAIT = """
from pathlib import Path

@function("orders", emits="out", timeout=30)
async def note(order: dict, ctx: Context) -> None:
    Path("{folder}/started").touch()
    while order["n"] == 0 and not Path("{folder}/go").exists():
        await asyncio.sleep(0.01)
    ctx.emit("out", "old")
"""


async def words(one: Stage) -> list[str]:
    return [(record.value or b"").decode().strip('"') for record in await one.records("out")]


def epochs(one: Stage) -> set[int]:
    return {shard.epoch for subscription in one.engine.subscriptions for shard in subscription._shards.values()}


async def test_the_next_event_runs_the_new_code_and_the_group_does_not_notice(tmp_path: Path) -> None:
    async with stage(tmp_path, SAY.format(word="old"), ("k", {"n": 1})) as one:
        await one.idle()
        before = epochs(one)
        one.write(SAY.format(word="new"))
        assert await one.reload() == Reloaded([], [], [], ["note"])
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert await words(one) == ["old", "new"]
        assert epochs(one) == before
        old, new = one.seen.results
        assert old.code != new.code
        assert (old.generation, new.generation) == (0, 1)


async def test_what_runs_ends_in_the_old_code_and_its_lane_waits_for_that(tmp_path: Path) -> None:
    async with stage(tmp_path, WAIT.format(folder=tmp_path)) as one:
        await one.emit([("slow", {"n": 0}), ("slow", {"n": 1})])
        await wait_until((tmp_path / "started").exists)
        one.write(SAY.format(word="new"))
        await one.reload()
        await one.emit([("quick", {"n": 2})])
        await one.seen.until(lambda: len(one.seen.results) == 1)
        assert [result.record.key for result in one.seen.results] == [b"quick"]
        (tmp_path / "go").touch()
        await one.idle()
        assert await words(one) == ["new", "old", "new"]
        assert [result.generation for result in one.seen.results if isinstance(result.outcome, Done)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("source", "refusal", "says"),
    [
        ("def note(:", TargetError, "functions.py:"),
        ("import nowhere", TargetError, "nowhere"),
        ("", TargetError, "holds no function"),
        (SAY.format(word="new").replace('"orders"', '"orders", order="sideways"'), DeclarationError, "sideways"),
    ],
)
async def test_code_that_cannot_serve_never_replaces_what_serves(
    tmp_path: Path, source: str, refusal: type[Exception], says: str
) -> None:
    async with stage(tmp_path, SAY.format(word="old"), ("k", {"n": 1})) as one:
        await one.idle()
        one.write(source)
        with pytest.raises(refusal, match=says):
            await one.reload()
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert await words(one) == ["old", "old"]


async def test_a_missing_secret_is_told_and_nothing_changes(tmp_path: Path) -> None:
    async with stage(tmp_path, SAY.format(word="old"), ("k", {"n": 1})) as one:
        await one.idle()
        one.write(SAY.format(word="new").replace('"orders",', '"orders", sandbox=Sandbox(secrets=["NO_SUCH_SECRET"]),'))
        with pytest.raises(SettingsError, match="NO_SUCH_SECRET"):
            await one.reload()
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert await words(one) == ["old", "old"]


async def test_a_setup_that_fails_keeps_the_old_code_serving_that_function_only(tmp_path: Path) -> None:
    other = SAY.format(word="{word} other").replace("def note", "def other")
    async with stage(tmp_path, SAY.format(word="old") + other.format(word="old"), ("k", {"n": 1})) as one:
        await one.idle()
        broken = SAY.format(word="new").replace('"orders",', '"orders", setup=connect,')
        one.write("def connect():\n    raise OSError('no database')\n    yield\n" + broken + other.format(word="new"))
        reloaded = await one.reload()
        assert reloaded.renewed == ["other"]
        assert "no database" in reloaded.failed["note"]
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert sorted(await words(one)) == ["new other", "old", "old", "old other"]


async def test_options_change_while_an_event_waits_and_it_keeps_its_attempts(tmp_path: Path) -> None:
    fails = """
    @function("orders", emits="out", retry={retry})
    def note(order: dict, ctx: Context) -> None:
        raise ValueError(ctx.attempt)
    """
    first = fails.format(retry="Retry(attempts=2, delay=0.01, jitter='none')")
    second = fails.format(retry="[Retry(attempts=4, delay=0.01, jitter='none', on=(ValueError,)), Retry(attempts=2)]")
    async with stage(tmp_path, first) as one:
        await one.emit([("k", {"n": 1})])
        await one.idle()
        one.write(second)
        await one.reload()
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert [result.attempt for result in one.seen.results] == [1, 2, 1, 2, 3, 4]
        codes = [letter["headrace-code"] for letter in await one.letters("note")]
        assert codes == [one.seen.results[1].code, one.seen.results[-1].code]
        assert len(set(codes)) == 2


async def test_functions_come_and_go(tmp_path: Path) -> None:
    other = SAY.format(word="other").replace("def note", "def other")
    async with stage(tmp_path, SAY.format(word="old"), ("k", {"n": 1})) as one:
        await one.idle()
        one.write(SAY.format(word="old") + other)
        reloaded = await one.reload()
        assert (reloaded.added, reloaded.renewed) == (["other"], ["note"])
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert sorted(await words(one)) == ["old", "old", "other"], "a function that appears starts at the end"
        one.write(other)
        assert (await one.reload()).removed == ["note"]
        await one.emit([("k", {"n": 3})])
        await one.idle()
        one.write(SAY.format(word="again") + other)
        assert (await one.reload()).added == ["note"]
        await one.idle()
        assert sorted(await words(one)) == ["again", "old", "old", "other", "other"], "it goes on where it was"


async def test_other_topics_and_another_order_are_subscribed_anew_without_a_loss(tmp_path: Path) -> None:
    async with stage(tmp_path, SAY.format(word="old"), *(("k", {"n": n}) for n in range(20))) as one:
        one.write(SAY.format(word="new").replace('"orders",', '"orders", "more", order="partition",'))
        assert (await one.reload()).resubscribed == ["note"]
        await one.emit([("k", {"n": n}) for n in range(20)])
        await one.idle()
        said = await words(one)
        assert len(said) == 40
        assert said == sorted(said, reverse=True), "the old code before the new"
        assert set(one.engine.subscriptions[0].spec.topics) == {"orders", "more"}


async def test_a_helper_module_is_part_of_the_code(tmp_path: Path) -> None:
    uses = """
    from helper import WORD

    @function("orders", emits="out")
    def note(order: dict, ctx: Context) -> None:
        ctx.emit("out", WORD)
    """
    (tmp_path / "helper.py").write_text("WORD = 'one'\n")
    async with stage(tmp_path, uses, ("k", {"n": 1})) as one:
        await one.idle()
        (tmp_path / "helper.py").write_text("WORD = 'two'\n")  # of the same size, perhaps within the same second
        await one.reload()
        await one.emit([("k", {"n": 2})])
        await one.idle()
        assert await words(one) == ["one", "two"]
        assert len({result.code for result in one.seen.results}) == 2
