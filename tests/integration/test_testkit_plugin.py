"""The plug-in for pytest: its fixture, what it tells of a failure, and that it costs nothing before it is used."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

FUNCTIONS = """
from pydantic import BaseModel
from headrace import Context, Retry, function

class Order(BaseModel):
    id: str

class Mail(BaseModel):
    order: str

@function("orders", emits={"emails": Mail}, retry=Retry(attempts=2, delay=5, jitter="none"))
def confirm(order: Order, ctx: Context) -> Mail:
    ctx.log.info("seen")
    if order.id == "broken":
        raise ValueError("never")
    return Mail(order=order.id)

@function("emails", emits="archive")
async def archive(mail: Mail) -> Mail:
    return mail
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with functions, and pytest with no plug-in but ours, whether it is installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(functions=FUNCTIONS)
    pytester.makepyprojecttoml('[project]\nname = "the-shop"\n[tool.pytest]\npythonpath = ["."]\n')
    return pytester


def run(shop: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    shop.makepyfile(test_shop=test)
    return shop.runpytest_subprocess("-p", "headrace.pytest_plugin", "-W", "error", *arguments)


def test_the_fixture_is_the_projects_functions(shop: pytest.Pytester) -> None:
    test = """
    from functions import Mail, Order, confirm

    def test_it(headrace_app):
        headrace_app.emit("orders", Order(id="1"))
        headrace_app.run_until_idle()
        (mail,) = headrace_app.topic("archive")
        assert mail.model(Mail) == Mail(order="1")
        assert mail.source == "/the-shop/archive"
        assert [one.outcome for one in headrace_app.attempts(confirm)] == ["done"]

    def test_each_test_has_its_own(headrace_app):
        assert headrace_app.topic("archive") == []
    """
    run(shop, test).assert_outcomes(passed=2)


def test_the_fixture_takes_the_settings_of_the_root_folder(shop: pytest.Pytester) -> None:
    (shop.path / "functions.py").rename(shop.path / "handlers.py")
    (shop.path / "headrace.toml").write_text('target = "handlers.py"\napp = "north"\n[defaults.retry]\nattempts = 9\n')
    (shop.path / "tests").mkdir()
    (shop.path / "tests" / "test_it.py").write_text(
        "def test_it(headrace_app, tmp_path, monkeypatch):\n"
        "    monkeypatch.chdir(tmp_path)\n"
        "    headrace_app.emit('orders', {'id': '1'})\n"
        "    headrace_app.run_until_idle()\n"
        "    (mail,) = headrace_app.topic('archive')\n"
        "    assert mail.source == '/north/archive'\n"
    )
    run(shop, "", "tests").assert_outcomes(passed=1)


def test_the_fixture_makes_apps_of_other_functions(shop: pytest.Pytester) -> None:
    (shop.path / "functions.py").rename(shop.path / "handlers.py")
    test = """
    from handlers import Order, archive, confirm
    import pytest
    from headrace import TargetError

    def test_it(headrace_app):
        app = headrace_app(confirm, seed=7, app="other")
        app.emit("orders", Order(id="broken"))
        app.run_until_idle()
        assert len(app.dead_letters()) == 1
        with pytest.raises(TargetError, match="no functions found"):
            headrace_app.topic("emails")
    """
    run(shop, test).assert_outcomes(passed=1)


def test_a_failure_is_told_with_what_happened_in_the_apps_of_the_test(shop: pytest.Pytester) -> None:
    test = """
    from functions import Order, archive, confirm
    from headrace.testing import TestApp

    def test_before():
        app = TestApp(archive)
        app.run_until_idle()

    def test_it(headrace_app):
        headrace_app.emit("orders", Order(id="broken"), id="o-7", key="a")
        headrace_app.run_until_idle()
        assert headrace_app.topic("emails") != []
    """
    result = run(shop, test)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*headrace: what happened in <TestApp the-shop with confirm, archive: open, 2 attempts>*",
            "*0.000 s  confirm  o-7 (orders/0@0)  attempt 1  failed: ValueError: never; again in 5 s",
            "*info: seen",
            '*raise ValueError("never")',
            "*5.000 s  confirm  o-7 (orders/0@0)  attempt 2  failed: ValueError: never",
            "topics: orders 1, the-shop.confirm.dlt 1",
        ]
    )
    result.stdout.no_fnmatch_line("*TestApp test with archive*")


def test_a_test_that_passes_is_told_without_a_word(shop: pytest.Pytester) -> None:
    result = run(shop, "def test_it(headrace_app):\n    headrace_app.run_until_idle()", "-rA")
    result.stdout.no_fnmatch_line("*what happened*")


def test_a_crash_that_changes_something_is_told_with_the_run_it_happened_in(shop: pytest.Pytester) -> None:
    test = """
    from functions import Mail, Order
    from headrace import Context, function
    from headrace.testing import crash_points

    seen = set()

    @function("orders", emits="emails")
    def once(order: Order, ctx: Context) -> Mail | None:
        if ctx.event.id in seen:
            return None
        seen.add(ctx.event.id)
        return Mail(order=order.id)

    @crash_points(once, partitions=1)
    def test_it(app, tmp_path):
        seen.clear()
        app.emit("orders", Order(id="1"))
    """
    result = run(shop, test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E  *AssertionError: a crash right before write 2 of 2 (test.once settled orders/0 *) changes what is in *",
            "E  *topic 'emails': missing: Mail *",
            "*headrace: what happened in <TestApp test with once: *, 2 attempts>*",
            "*once  orders-1 *done; emitted Mail to emails; lost in the crash",
            "*once  orders-1 *done",
        ]
    )
    assert str(result.stdout).count("what happened") == 1


def test_crash_points_without_functions_are_those_of_the_project(shop: pytest.Pytester) -> None:
    test = """
    from functions import Order
    from headrace.testing import crash_points

    @crash_points(partitions=1)
    def test_it(app):
        app.emit("orders", Order(id="1"))
        app.run_until_idle()
        assert len(app.topic("archive")) == 1
    """
    run(shop, test).assert_outcomes(passed=1)


def test_async_tests_and_setups_go_together_with_the_fixture(shop: pytest.Pytester) -> None:
    test = """
    import asyncio
    import pytest
    from functions import Order
    from headrace import Context, function

    states = []

    async def state():
        states.append("open")
        await asyncio.sleep(0)
        yield 1
        await asyncio.sleep(0)
        states.append("closed")

    @function("orders", setup=state)
    async def stateful(order: Order, ctx: Context[int]) -> None:
        assert ctx.state == 1

    def test_sync(headrace_app):
        app = headrace_app(stateful)
        app.emit("orders", Order(id="1"))
        app.run_until_idle()

    def test_sync_has_closed():
        assert states == ["open", "closed"]

    async def test_async(headrace_app):
        app = headrace_app(stateful)
        app.emit("orders", Order(id="1"))
        await app.arun_until_idle()
        assert [one.outcome for one in app.attempts()] == ["done"]
        await app.aclose()
        assert states == ["open", "closed"] * 2

    async def test_async_without_an_end(headrace_app):
        app = headrace_app(stateful)
        app.emit("orders", Order(id="1"))
        await app.arun_until_idle()
    """
    loops = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    run(shop, test, "-p", "pytest_asyncio.plugin", *loops).assert_outcomes(passed=4)


def test_pytest_starts_without_loading_anything_of_headrace_but_the_plug_in(shop: pytest.Pytester) -> None:
    test = """
    import json, sys

    def test_it():
        print("MODULES", json.dumps(sorted(sys.modules)))
        assert False
    """
    result = run(shop, test)
    (line,) = [line for line in result.outlines if line.startswith("MODULES")]
    modules = set(json.loads(line.removeprefix("MODULES")))
    assert {name for name in modules if name.startswith("headrace")} == {"headrace", "headrace.pytest_plugin"}
    assert modules & {"pydantic", "msgspec", "structlog", "click"} == set()


def test_pytest_finds_the_plug_in_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"headrace": "headrace.pytest_plugin"}
