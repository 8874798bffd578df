"""A user's slips: each is told with its place and a remedy, never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Shell

HEAD = (
    "from pydantic import BaseModel\nfrom headrace import *\nclass A(BaseModel): x: int\nclass B(BaseModel): x: int\n"
)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('@function("t", timout=3)\ndef f(a: A): ...', ["functions.py:5", "timout", "timeout"]),
        ('@function("t", timeout=-3)\ndef f(a: A): ...', ["functions.py:5", "timeout"]),
        ('@function("t", retry=Retry(attempts=0))\ndef f(a: A): ...', ["functions.py:5", "attempts"]),
        ('@function("t")\ndef f(): ...', ["functions.py:5", "payload parameter"]),
        ('@function("t")\ndef f(a): ...', ["functions.py:5", "needs a type"]),
        ('@function("t")\ndef f(a: Missing): ...', ["functions.py:", "Missing"]),
        ('@function("t")\ndef f(a: int): ...', ["functions.py:5", "pydantic model"]),
        ('@function("t")\ndef f(a: A) -> B: ...', ["functions.py:5", "no topic takes it"]),
        ('@function("t", emits="out")\ndef f(a: A) -> A | B: ...', ["functions.py:5", "one type"]),
        ('@function("t", concurrency=4)\ndef f(a: A): ...', ["functions.py:5", "async def f"]),
        ('@function("t", rate="4/s")\ndef f(a: A): ...', ["functions.py:5", "how many events may start in a second"]),
        ('@function("t", setup=print)\ndef f(a: A): ...', ["functions.py:5", "setup=print does not yield"]),
        ('@function("t", batch=Batch())\ndef f(a: A): ...', ["functions.py:5", "a: list[…]"]),
        ('@function("t")\ndef f(a: list[A]): ...', ["functions.py:5", "batch=Batch(size=100, wait=0.5)"]),
        ('@function("t", breaker=Breaker())\ndef f(a: A): ...', ["functions.py:5", "not built yet"]),
        ('@function("t t")\ndef f(a: A): ...', ["functions.py:5", "topic name"]),
        ("@function\ndef f(a: A): ...", ["functions.py:5", '@function("orders")']),
        (
            '@function("t")\ndef f(a: A): ...\n@function("t", name="f")\ndef g(a: A): ...',
            ["functions.py:5", "functions.py:7", "'f'"],
        ),
        (
            '@function("t")\ndef f(a: A): ...\n@function("shop.f.dlt")\ndef g(a: A): ...',
            ["functions.py:7", "dead-letter"],
        ),
        ("import no_such_thing", ["functions.py", "no_such_thing"]),
        ("1 / 0", ["functions.py:5", "ZeroDivisionError"]),
        ("def broken(:", ["functions.py", "5"]),
        ("x = 1", ["functions.py", "@function"]),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place_and_a_remedy(shell: Shell, code: str, says: list[str]) -> None:
    shell.write("functions.py", HEAD + code + "\n")
    refused = shell.run("run", "--until-idle", code=1)
    for words in says:
        assert words in refused.stderr
    assert refused.stderr.count("\n") < 12, "a message, not a dump"


def test_no_target_says_what_was_looked_for(shell: Shell) -> None:
    assert "functions.py" in shell.run("run", code=1).stderr
    assert "nowhere.py" in shell.run("run", "nowhere.py", code=1).stderr


def test_a_log_that_is_none_is_refused_by_name(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "not.db").write_bytes(b"this is a text, and quite a long one, not a database at all" * 20)
    assert "not.db" in shell.run("tail", "orders", "--broker", f"sqlite:{tmp_path}/not.db", code=1).stderr
    assert "Kafka at localhost:1" in shell.run("tail", "orders", "--broker", "kafka://localhost:1", code=1).stderr
    assert "sqlite:PATH" in shell.run("tail", "orders", "--broker", "what://ever", code=1).stderr


@pytest.mark.parametrize(
    "line",
    [
        "emit orders {}",
        "tail orders",
        "lag",
        "status",
        "topics",
        "pause f",
        "dlq list",
        "dlq show f --all",
        "reset f --to earliest",
    ],
)
def test_what_looks_at_a_log_from_outside_refuses_one_in_memory(shell: Shell, line: str) -> None:
    shell.write("functions.py", HEAD + '@function("t")\ndef f(a: A): ...\n')
    assert "broker 'memory:' is a log that ends with" in shell.run(*line.split(), "--broker", "memory:", code=1).stderr


@pytest.mark.parametrize("option", ["--broker", "--app"])
def test_an_option_given_as_nothing_is_not_taken_for_the_default(shell: Shell, option: str) -> None:
    assert f"'{option}': it is empty" in shell.run("lag", option, "", code=2).stderr


def test_an_unknown_setting_is_refused_by_name(shell: Shell) -> None:
    shell.write("headrace.toml", 'brokr = "sqlite:x.db"\n')
    assert "brokr" in shell.run("run", "--until-idle", code=1).stderr


# -- streams and folders ----------------------------------------------------------------------------------------------


def spoken(shell: Shell, line: str, code: int) -> str:
    """What a line for a shell, in which `$H` is headrace, said on stderr."""
    shell.environment["H"] = f"{sys.executable} {' '.join(shell.program)}"
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    ended = subprocess.run(command, cwd=shell.folder, env=shell.env, text=True, capture_output=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_told(shell: Shell, unbuffered: str) -> None:
    shell.environment["PYTHONUNBUFFERED"] = unbuffered
    for line in ("$H emit orders 1 --json", "$H config", "$H --help"):
        assert "stdout cannot be written to: No space left on device" in spoken(shell, f"{line} > /dev/full", 1)


def test_a_reader_that_has_gone_is_no_failure(shell: Shell) -> None:
    shell.run("emit", "orders", "-", stdin="1\n" * 3)
    assert spoken(shell, "$H tail orders --no-follow --json | true", 0) == ""


def test_what_cannot_be_said_on_stderr_changes_nothing(shell: Shell) -> None:
    shell.write("functions.py", HEAD + '@function("t")\ndef f(a: A): ...\n')
    shell.run("emit", "t", "-", stdin='{"x": 1}\n{"y": 1}\n')
    spoken(shell, "$H run --until-idle 2> /dev/full", 0)
    spoken(shell, "$H run --until-idle 2>&1 | true", 0)
    spoken(shell, "$H nope 2> /dev/full", 2)
    assert shell.json("lag")[0]["lag"] == 0


def test_streams_that_are_closed_are_done_without(shell: Shell) -> None:
    shell.write("functions.py", HEAD + '@function("t")\ndef f(a: A): ...\n')
    spoken(shell, "$H emit t 1 >&-", 0)
    spoken(shell, "$H emit t - <&-", 0)
    spoken(shell, "$H run --until-idle <&- >&- 2>&-", 0)
    assert "say --yes" in spoken(shell, "$H topics delete t <&-", 2)
    assert shell.json("lag")[0]["lag"] == 0


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_what_an_encoding_lacks_is_escaped(shell: Shell, encoding: str) -> None:
    shell.run("emit", "orders", '{"half": "\\ud800", "whole": "\u2603"}')
    shell.environment["PYTHONIOENCODING"] = encoding
    assert [event["data"] for event in shell.tail("orders")] == [{"half": "\ud800", "whole": "\u2603"}]
    assert "half" in shell.run("tail", "orders", "--no-follow").stdout


def test_a_folder_that_has_gone_is_told(shell: Shell) -> None:
    assert "cd to one that is" in spoken(shell, "mkdir gone; cd gone; rmdir ../gone; $H status", 1)


def test_no_place_for_temporary_files_is_told(shell: Shell) -> None:
    shell.write("functions.py", HEAD + '@function("t")\ndef f(a: A): ...\n')
    assert "set TMPDIR" in spoken(shell, "ulimit -f 0; $H demo", 1)  # not a byte may be written, so no folder will do
    assert "no worker can be started: File too large" in spoken(shell, "ulimit -f 0; $H functions", 1)


def test_a_copy_that_cannot_be_written_is_told(shell: Shell) -> None:
    shell.run("emit", "orders", "1")
    for place in ("x" * 300, "functions.py/copy.db"):
        shell.write("functions.py", "")
        assert "name another file for the copy" in shell.run("log", "backup", place, code=1).stderr


def test_links_that_lead_in_a_circle_are_told(shell: Shell) -> None:
    (shell.folder / "round").symlink_to("round")
    for arguments in ("tail orders --broker sqlite:round", "log check --broker sqlite:round", "new round"):
        assert "Too many levels of symbolic links" in shell.run(*arguments.split(), code=1).stderr


def test_a_log_in_a_folder_whose_name_is_no_text_is_checked(shell: Shell) -> None:
    log = shell.folder / os.fsdecode(b"caf\xe9") / "log.db"
    shell.run("emit", "orders", "{}", "--broker", f"sqlite:{log}")
    assert "the log is sound" in shell.run("log", "check", "--broker", f"sqlite:{log}").stdout
