"""The image: built from the Dockerfile, run without any right, stopped by SIGTERM, its log in a volume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Engine, NoEngine
from harness import STOREFRONT, Mailbox, Shell

REQUIRED = os.environ.get("HEADRACE_REQUIRE_CONTAINERS") == "1"  # read before the tests' clean environment

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        found = Engine.with_image()
    except NoEngine as problem:
        if REQUIRED:
            raise
        pytest.skip(str(problem))
    yield found
    found.remove()


def shop(mailbox: Mailbox, volume: str) -> list[str]:
    """Options of a container that serves the storefront and keeps its log in that volume."""
    settings = {"HEADRACE_APP": "storefront", "SMTP_URL": mailbox.url}
    mounts = ["-v", f"{STOREFRONT}:/app:ro", "-v", f"{volume}:/var/lib/headrace"]
    return [*mounts, *(word for name, value in settings.items() for word in ("-e", f"{name}={value}"))]


def orders(first: int, count: int) -> str:
    numbers = range(first, first + count)
    return "".join(
        json.dumps({"order_id": f"o{n}", "email": f"c{n % 7}@customers.example", "total": 5}) + "\n" for n in numbers
    )


EMIT = ("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email")


def test_the_storefront_handles_orders_in_a_container_and_goes_on_in_the_next(engine: Engine, mailbox: Mailbox) -> None:
    with engine.volume() as volume:
        with engine.container(*shop(mailbox, volume)) as first:
            first.headrace(*EMIT, stdin=orders(0, 20))
            mailbox.wait_for(20)
            assert first.stop(30) == 0, first.output
        with engine.container(*shop(mailbox, volume)) as second:
            second.headrace(*EMIT, stdin=orders(20, 20))
            lines = second.headrace("tail", "emails", "--from", "earliest", "-n", "40", "--json").splitlines()
            assert second.stop(30) == 0, second.output
    sent = [json.loads(line)["data"]["order_id"] for line in lines]
    assert sorted(sent) == sorted(f"o{n}" for n in range(40)), "each order exactly once, over both"
    assert len(mailbox.delivered) == 40


def test_sigterm_lets_what_runs_end_and_settles_it(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "functions.py").write_text(SLOW)
    tmp_path.chmod(0o755)
    with engine.volume() as volume:
        options = ["-v", f"{folder}:/app:ro", "-v", f"{volume}:/var/lib/headrace", "-e", "HEADRACE_APP=slow"]
        with engine.container(*options) as one:
            one.headrace("emit", "jobs", "1")
            one.wait_for("begun")
            assert one.stop(30) == 0, one.output
        with engine.container(*options) as other:
            (line,) = other.headrace("tail", "ended", "--from", "earliest", "-n", "1", "--json").splitlines()
            assert json.loads(line)["data"] == 1
            assert json.loads(other.headrace("lag", "--json"))[0]["lag"] == 0, "and it is not run again"


SLOW = """
import asyncio
from headrace import Context, function

@function("jobs", emits="ended")
async def work(job: bytes, ctx: Context) -> None:
    print("begun")
    await asyncio.sleep(2)
    ctx.emit("ended", 1)
"""


def test_the_image_runs_as_nobody_in_particular_and_takes_signals_itself(engine: Engine) -> None:
    (image,) = json.loads(engine.said("image", "inspect", engine.image))
    config = image["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["headrace"], ["run"]), "no shell between the signal and us"
    assert config["User"] == "headrace"
    assert config.get("StopSignal") in {"SIGTERM", "15"}
    assert list(config["Volumes"]) == ["/var/lib/headrace"]
    ids = engine.said("run", "--rm", "--entrypoint", "id", engine.image, "-u")
    assert int(ids) == 10001


def test_without_functions_it_says_what_to_do(engine: Engine) -> None:
    result = engine.call("run", "--rm", engine.image)
    assert result.returncode == 1
    assert "no functions found" in result.stderr
    assert "/app" in result.stderr


def test_what_headrace_new_makes_runs_on_top_of_it(engine: Engine, shell: Shell) -> None:
    shell.run("new", "mill")
    image = f"{engine.image}-mill"
    words = [*engine.build_words, "--build-arg", f"IMAGE={engine.image}"]
    engine.said("build", *words, "-t", image, str(shell.folder / "mill"))
    try:
        listed = engine.said("run", "--rm", image, "functions", "--json")
        there = engine.said("run", "--rm", "--entrypoint", "ls", image, "-A", "/app")
    finally:
        engine.call("rmi", "-f", image)
    assert [function["name"] for function in json.loads(listed)] == ["confirm_order"]
    assert there.split() == ["functions.py", "headrace.toml"], "and nothing of the project else"
