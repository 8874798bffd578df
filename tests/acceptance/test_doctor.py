"""`headrace doctor`: what it finds, and when it says that something will not work."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
from harness import Shell
from kafkaserver import KafkaServer

FUNCTIONS = """
from headrace import Sandbox, function

@function("orders", sandbox=Sandbox(secrets=["SMTP_URL"]))
def accept(order: dict) -> None: ...
"""


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    shell.environment["SMTP_URL"] = "smtp://somewhere"
    return shell


def checks(shell: Shell, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    return {one["check"]: one for one in shell.json("doctor", *arguments, code=code)}


def test_a_sound_project_passes_and_nothing_is_made(shop: Shell) -> None:
    found = checks(shop)
    assert {one["verdict"] for one in found.values()} <= {"ok", "warning"}
    assert found["target"]["found"].endswith("accept")
    assert "SMTP_URL" in found["secrets"]["found"]
    assert "smtp://" not in str(found)
    assert found["isolation"]["verdict"] == "ok" or found["isolation"]["remedy"]
    assert {"Python", "SQLite", "Kafka client", "clock", "open files", "memory", "app", "broker"} <= found.keys()
    assert not (shop.folder / ".headrace").exists()
    assert "accept" in shop.run("doctor").stdout


def test_a_log_that_is_there_is_opened(shop: Shell) -> None:
    shop.run("emit", "orders", "{}")
    assert "1 topics" in checks(shop)["broker"]["found"]


def test_what_will_not_work_is_named_and_exits_with_one(shop: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTP_URL", raising=False)
    del shop.environment["SMTP_URL"]
    assert "SMTP_URL" in checks(shop, code=1)["target"]["found"]
    shop.write("functions.py", "import nothing_of_that_name\n")
    assert "nothing_of_that_name" in checks(shop, code=1)["target"]["found"]
    assert checks(shop, "no.py", code=1)["target"]["verdict"] == "failed"
    shop.write("headrace.toml", "drian = 1\n")
    assert "drian" in checks(shop, code=1)["settings"]["found"]


def test_without_any_target_the_rest_is_looked_at(shell: Shell) -> None:
    assert checks(shell)["target"]["verdict"] == "warning"


def test_a_place_where_no_log_can_be_is_told(shop: Shell) -> None:
    shop.folder.joinpath("taken").mkdir()
    assert "is a directory" in checks(shop, "--broker", "sqlite:taken", code=1)["file system of the log"]["found"]


def test_a_file_that_is_no_log_is_told(shop: Shell) -> None:
    shop.write("notes.db", "not a database, but long enough to be looked at" * 20)
    assert checks(shop, "--broker", "sqlite:notes.db", code=1)["broker"]["verdict"] == "failed"


def test_a_cluster_that_cannot_be_reached_is_told_with_what_to_look_at(shop: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = checks(shop, "--broker", f"kafka://127.0.0.1:{port}", code=1)
    assert "cannot be reached" in found["broker"]["found"]
    assert found["app"]["verdict"] == "failed"


def test_too_few_open_files_are_told(shop: Shell) -> None:
    result = subprocess.run(
        ["sh", "-c", 'ulimit -Sn 200; exec "$0" -m headrace doctor', sys.executable],
        cwd=shop.folder,
        env=shop.env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "ulimit -n is 200" in result.stdout, result.stderr
    assert "ulimit -n 1024" in result.stdout


def test_a_cluster_that_is_there_is_reached(shop: Shell, kafka: KafkaServer) -> None:
    found = checks(shop, "--broker", f"kafka://{kafka.bootstrap}", "--app", "shop")
    assert "reached" in found["broker"]["found"]
