"""`headrace emit` and `headrace tail`: what goes in, what comes out, what is refused."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from harness import Shell


def test_emit_prints_where_the_event_went_and_tail_finds_it_there(shell: Shell) -> None:
    position = shell.json(
        "emit", "orders", '{"id": "1"}', "--key", "k", "--type", "Order", "--header", "a=1", "--header", "a=2"
    )
    assert set(position) == {"topic", "partition", "offset", "id"}
    (event,) = shell.tail("orders")
    assert {name: event[name] for name in position} == position
    assert (event["key"], event["type"], event["data"], event["headers"]["a"]) == (
        "k",
        "Order",
        {"id": "1"},
        ["1", "2"],
    )
    assert set(event) == {"topic", "partition", "offset", "key", "type", "id", "time", "headers", "data"}


def test_emit_keeps_a_given_id(shell: Shell) -> None:
    assert shell.json("emit", "orders", "1", "--id", "mine")["id"] == "mine"
    assert shell.tail("orders")[0]["id"] == "mine"


def test_a_delayed_event_has_no_offset_yet_and_is_there_when_its_time_has_come(shell: Shell) -> None:
    before = datetime.now(UTC)
    late = shell.json("emit", "orders", "1", "--delay", "2h", "--id", "late")
    assert (late["topic"], late["partition"], late["offset"], late["id"]) == ("orders", None, None, "late")
    assert timedelta(hours=2) <= datetime.fromisoformat(late["not_before"]) - before < timedelta(hours=3)
    assert shell.run("emit", "orders", "2", "--delay", "1.5h").stdout.startswith("orders at 2")
    shell.json("emit", "orders", "3", "--delay", "0.2", "--id", "soon")
    assert shell.json("tail", "orders", "--from", "earliest", "-n", "1")["id"] == "soon"
    assert shell.json("emit", "orders", "4", "--delay", "0").keys() == {"topic", "partition", "offset", "id"}


def test_a_delay_that_is_no_time_is_wrong_usage_and_one_without_end_is_refused(shell: Shell) -> None:
    assert "for example 90s, 5m, 2h, 7d" in shell.run("emit", "orders", "1", "--delay", "soon", code=2).stderr
    assert "ten years at most" in shell.run("emit", "orders", "1", "--delay", "5000d", code=1).stderr
    assert "too much: write less" in shell.run("emit", "orders", "1", "--delay", "9" * 30, code=2).stderr


def test_lines_may_be_delayed_too(shell: Shell) -> None:
    output = shell.run("emit", "orders", "-", "--delay", "1h", "--json", stdin="1\n2\n").stdout
    assert [json.loads(line)["offset"] for line in output.splitlines()] == [None, None]


def test_emit_takes_lines_of_stdin_with_a_key_from_each(shell: Shell) -> None:
    lines = '{"id": 1, "who": "a"}\n\n{"id": 2, "who": {"x": 1}}\n{"id": 3, "who": null}\n'
    output = shell.run("emit", "orders", "-", "--key-field", "who", "--json", stdin=lines).stdout
    assert len(output.splitlines()) == 3
    keys = {event["data"]["id"]: event["key"] for event in shell.tail("orders")}
    assert keys == {1: "a", 2: '{"x": 1}', 3: None}


def test_the_first_bad_line_stops_it_with_its_number_and_says_what_was_appended(shell: Shell) -> None:
    bad = shell.run("emit", "orders", "-", stdin='{"id": 1}\n{"id": 2}\n{broken\n{"id": 4}\n', code=1)
    assert "line 3" in bad.stderr
    assert "2 event(s) appended" in bad.stderr
    assert len(shell.tail("orders")) == 2
    missing = shell.run("emit", "orders", "-", "--key-field", "who", stdin='{"id": 1}\n', code=1)
    assert "'who'" in missing.stderr
    half = '{"who": "a"}\n{"who": "\\ud800"}\n'
    odd = shell.run("emit", "orders", "-", "--key-field", "who", stdin=half, code=1).stderr
    assert "line 2: key is not text" in odd
    assert "1 event(s) appended" in odd


@pytest.mark.parametrize("arguments", [[], ["--raw"]])
def test_a_line_that_is_too_long_or_has_no_end_is_a_bad_one(shell: Shell, arguments: list[str]) -> None:
    long = shell.run("emit", "orders", "-", *arguments, stdin=f"1\n{'1' * (1 << 20)}1\n", code=1).stderr
    assert "line 2: " in long
    assert "over the limit of 1,048,576" in long
    assert "1 event(s) appended" in long
    with (
        Path("/dev/zero").open() as endless,
        shell.start("emit", "orders", "-", *arguments, stdin=endless, stderr=subprocess.PIPE) as emit,
    ):
        assert "line 1: it is over the limit" in emit.communicate()[1]
        assert emit.returncode == 1


def test_data_that_is_not_json_is_refused_with_a_hint_and_raw_takes_it_as_text(shell: Shell) -> None:
    assert "--raw" in shell.run("emit", "orders", "hello", code=1).stderr
    shell.run("emit", "orders", "hello", "--raw")
    shell.run("emit", "orders", "--null", "--key", "gone")
    by_key = {event["key"]: event["data"] for event in shell.tail("orders")}
    assert by_key == {None: "hello", "gone": None}


def test_wrong_usage_exits_with_two(shell: Shell) -> None:
    for arguments in (
        ["emit"],
        ["emit", "orders"],
        ["emit", "orders", "1", "--bogus"],
        ["nothing"],
        ["tail", "t", "-n", "0"],
    ):
        shell.run(*arguments, code=2)


def test_a_bad_topic_name_is_refused(shell: Shell) -> None:
    assert "or derr" in shell.run("emit", "or derr", "1", code=1).stderr


def test_tail_of_an_unknown_topic_says_which_there_are(shell: Shell) -> None:
    shell.run("emit", "orders", "1")
    assert "orders" in shell.run("tail", "order", code=1).stderr


def test_tail_starts_where_it_is_told_and_stops_after_n(shell: Shell) -> None:
    for number in range(4):
        shell.run("emit", "orders", str(number), "--key", "same")
    offsets = [event["offset"] for event in shell.tail("orders")]
    assert offsets == [0, 1, 2, 3]
    two = shell.run("tail", "orders", "--from", "1", "-n", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["data"] for line in two] == [1, 2]
    times = [event["time"] for event in shell.tail("orders")]
    since = shell.run("tail", "orders", "--from", times[2], "--no-follow", "--json").stdout.splitlines()
    assert [json.loads(line)["data"] for line in since] == [2, 3]
    for wrong in ("soon", "0001-01-01", ""):
        assert "earliest, latest" in shell.run("tail", "orders", "--from", wrong, "--no-follow", code=2).stderr
    assert shell.run("tail", "orders", "--from", "9" * 5000, "--no-follow").stdout == ""


def test_tail_follows_what_other_processes_append(shell: Shell) -> None:
    shell.run("emit", "orders", "1")
    with shell.start("tail", "orders", "--from", "earliest", "-n", "3", "--json", stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["data"] == 1
        shell.run("emit", "orders", "2")
        assert json.loads(tail.stdout.readline())["data"] == 2
        shell.run("emit", "orders", "3")
        assert json.loads(tail.stdout.readline())["data"] == 3
        assert tail.wait(90) == 0
