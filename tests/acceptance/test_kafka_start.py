"""What `run` asks for on a broker that is shared: a name, and where to start on a backlog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import Shell
from kafkaclient import fresh

FUNCTIONS = """
from headrace import Context, function

@function("ORDERS", name="FUNCTION", emits="SEEN")
def note(order: dict, ctx: Context) -> None:
    ctx.emit("SEEN", order)
"""


class Shop(Shell):
    """A folder with one function on topics of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, {"HEADRACE_BROKER": url})
        self.orders, self.seen, self.app = fresh("orders"), fresh("seen"), fresh("shop")
        self.define("note")

    def define(self, name: str) -> None:
        text = FUNCTIONS.replace("ORDERS", self.orders).replace("SEEN", self.seen).replace("FUNCTION", name)
        self.write("functions.py", text)


@pytest.fixture
def shop(kafka: Any, tmp_path: Path) -> Shop:
    return Shop(tmp_path, kafka.url)


def test_an_app_has_to_be_named(shop: Shop) -> None:
    refused = shop.run("run", "--until-idle", code=1).stderr
    for word in ("is shared with others", "--app NAME", "HEADRACE_APP"):
        assert word in refused
    shop.run("run", "--until-idle", "--app", shop.app)


def test_a_new_function_on_a_backlog_has_to_be_told_where_to_start(shop: Shop) -> None:
    shop.environment["HEADRACE_APP"] = shop.app
    shop.run("run", "--until-idle", "--start", "note=latest")
    shop.run("emit", shop.orders, "-", stdin='{"n": 1}\n' * 1001)
    shop.run("run", "--until-idle")
    assert len(shop.tail(shop.seen)) == 1001
    shop.define("renamed")
    refused = shop.run("run", "--until-idle", code=1).stderr
    for word in ("'renamed'", "1,001 events", "--start renamed=earliest", "name='note'"):
        assert word in refused
    shop.run("run", "--until-idle", "--start", "renamed=latest")
    assert len(shop.tail(shop.seen)) == 1001


@pytest.mark.parametrize("wrong", ["note", "note=yesterday", "=earliest", "note=2026-11-21T12:00:00"])
def test_a_start_that_cannot_be_read_is_wrong_usage(shop: Shop, wrong: str) -> None:
    refused = shop.run("run", "--start", wrong, code=2).stderr
    assert "NAME=earliest" in refused


def test_a_start_for_a_function_that_is_not_there_is_refused(shop: Shop) -> None:
    refused = shop.run("run", "--app", shop.app, "--start", "other=latest", code=1).stderr
    assert "no function has that name (did you mean 'note'?); there are: note" in refused
