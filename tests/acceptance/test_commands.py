"""The commands as a user types them: what they print, how they fail."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from harness import Shell

FUNCTIONS = '''
"""Two functions."""
from pydantic import BaseModel
from headrace import Context, Reject, RetryAfter, function

class Order(BaseModel):
    id: str

class Accepted(BaseModel):
    id: str
    attempt: int

@function("orders", emits={"accepted": Accepted})
def accept(order: Order, ctx: Context) -> Accepted:
    """Accept an order."""
    print("looking at", order.id)
    ctx.log.info("accepting", order=order.id)
    if order.id == "reject":
        raise Reject("not this one")
    if order.id == "fail":
        raise ValueError("it fails")
    if order.id == "crash":
        import os
        os._exit(3)
    if order.id == "hang":
        while True:
            pass
    return Accepted(id=order.id, attempt=ctx.attempt)

@function("accepted", timeout=1.0)
async def audit(accepted: Accepted) -> None:
    if accepted.id == "slow":
        import asyncio
        await asyncio.Event().wait()
'''


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write(
        "functions.py", FUNCTIONS.replace('emits={"accepted": Accepted})', 'emits={"accepted": Accepted}, timeout=1.0)')
    )
    return shell


# -- emit and tail ------------------------------------------------------------------------------------------------


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
    assert "ten years at most" in shell.run("emit", "orders", "1", "--delay", "9" * 30, code=2).stderr


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
    assert "earliest, latest" in shell.run("tail", "orders", "--from", "soon", code=2).stderr


def test_tail_follows_what_other_processes_append(shell: Shell) -> None:
    shell.run("emit", "orders", "1")
    with shell.start("tail", "orders", "--from", "earliest", "-n", "3", "--json", stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["data"] == 1
        shell.run("emit", "orders", "2")
        assert json.loads(tail.stdout.readline())["data"] == 2
        shell.run("emit", "orders", "3")
        assert json.loads(tail.stdout.readline())["data"] == 3
        assert tail.wait(30) == 0


# -- run ----------------------------------------------------------------------------------------------------------


def test_run_until_idle_handles_what_is_there_and_lag_is_nought(shop: Shell) -> None:
    shop.run("emit", "orders", "-", stdin="".join(f'{{"id": "{n}"}}\n' for n in range(50)))
    shop.run("run", "--until-idle")
    assert len(shop.tail("accepted")) == 50
    lag = shop.json("lag")
    assert {(row["function"], row["topic"]) for row in lag} == {("accept", "orders"), ("audit", "accepted")}
    assert sum(row["end"] for row in lag if row["function"] == "accept") == 50
    assert all(row["lag"] == 0 for row in lag)


def test_a_failing_event_is_tried_three_times_and_then_dead_lettered_with_its_stack(shop: Shell) -> None:
    shop.run("emit", "orders", '{"id": "fail"}')
    log = shop.run("run", "--until-idle").stderr
    (letter,) = shop.tail("shop.accept.dlt")
    headers = letter["headers"]
    assert (headers["headrace-error-type"], headers["headrace-error-message"]) == ("ValueError", "it fails")
    assert headers["headrace-attempt"] == "3"
    assert "functions.py" in headers["headrace-error-stack"]
    assert "headrace/sandbox" not in headers["headrace-error-stack"], "the user's frames only"
    assert log.count("it fails") == 3


def test_crashes_and_timeouts_are_charged_to_the_event_and_the_rest_is_handled(shop: Shell) -> None:
    ids = ["1", "crash", "2", "hang", "3"]
    shop.run("emit", "orders", "-", stdin="".join(json.dumps({"id": i}) + "\n" for i in ids))
    shop.run("run", "--until-idle")
    assert {(event["data"]["id"], event["data"]["attempt"]) for event in shop.tail("accepted")} == {
        ("1", 1),
        ("2", 1),
        ("3", 1),
    }
    letters = {letter["data"]["id"]: letter["headers"] for letter in shop.tail("shop.accept.dlt")}
    assert letters["crash"]["headrace-error-type"] == "WorkerCrashed"
    assert letters["hang"]["headrace-error-type"] == "HandlerTimeout"
    assert {headers["headrace-attempt"] for headers in letters.values()} == {"3"}


def test_what_a_handler_prints_and_logs_is_in_the_log_with_its_event(shop: Shell) -> None:
    position = shop.json("emit", "orders", '{"id": "7"}')
    log = shop.run("run", "--until-idle", "--json").stderr
    lines = [json.loads(line) for line in log.splitlines()]
    printed = next(line for line in lines if line["event"] == "looking at 7")
    logged = next(line for line in lines if line["event"] == "accepting")
    assert printed["event_id"] == logged["event_id"] == position["id"]
    assert logged["order"] == "7"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_nought(shop: Shell, number: signal.Signals) -> None:
    shop.run("emit", "orders", '{"id": "1"}')
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("accepting" in line for line in iter(runtime.stderr.readline, ""))
        runtime.send_signal(number)
        assert runtime.wait(30) == 0
    assert len(shop.tail("accepted")) == 1


def test_a_second_signal_ends_it_at_once_and_charges_nothing(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "import asyncio\n"
        "from headrace import function\n"
        '@function("orders", timeout=600.0)\n'
        "async def stay(order: dict) -> None:\n"
        '    print("staying", flush=True)\n'
        "    await asyncio.Event().wait()\n",
    )
    shell.run("emit", "orders", "{}")
    with shell.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("staying" in line for line in iter(runtime.stderr.readline, ""))
        runtime.send_signal(signal.SIGTERM)
        runtime.send_signal(signal.SIGINT)
        assert runtime.wait(20) == 0
    assert shell.tail("shop.stay.dlt") == []
    assert sum(row["lag"] for row in shell.json("lag")) == 1


def test_events_emitted_while_it_runs_are_handled(shop: Shell) -> None:
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        shop.run("emit", "orders", '{"id": "9"}')
        assert any("accepting" in line for line in iter(runtime.stderr.readline, ""))
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(30) == 0


def test_a_backlog_brings_up_more_workers_and_events_of_one_key_keep_their_order(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "import os, time\n"
        "from pydantic import BaseModel\n"
        "from headrace import function\n"
        "class Seen(BaseModel):\n"
        "    n: int\n"
        "    worker: int\n"
        '@function("orders", emits={"seen": Seen}, workers=(0, 3))\n'
        "def see(order: dict) -> Seen:\n"
        "    time.sleep(0.01)\n"
        '    return Seen(n=order["n"], worker=os.getpid())\n',
    )
    lines = "".join(json.dumps({"n": n, "key": f"k{n % 7}"}) + "\n" for n in range(300))
    shell.run("emit", "orders", "-", "--key-field", "key", stdin=lines)
    shell.run("run", "--until-idle")
    seen = shell.tail("seen")
    assert len(seen) == 300
    assert len({event["data"]["worker"] for event in seen}) == 3
    by_key: dict[str, list[int]] = {}
    for event in seen:
        by_key.setdefault(event["key"], []).append(event["data"]["n"])
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


def test_discarded_events_leave_no_record_but_a_line_in_the_log(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "from headrace import Discard, Reject, function\n"
        '@function("orders", dead_letter=Discard("only a preview"))\n'
        "def drop(order: dict) -> None:\n"
        '    raise Reject("not wanted")\n',
    )
    shell.run("emit", "orders", "{}")
    log = shell.run("run", "--until-idle").stderr
    assert "discarded" in log
    assert "not wanted" in log
    assert shell.run("tail", "shop.drop.dlt", "--no-follow", code=1).stdout == ""
    assert sum(row["lag"] for row in shell.json("lag")) == 0


def test_a_new_function_starts_where_it_says_and_keeps_its_place(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "from pydantic import BaseModel\n"
        "from headrace import function\n"
        "class Seen(BaseModel):\n"
        "    n: int\n"
        '@function("orders", emits={"seen": Seen}, start="latest")\n'
        "def see(order: dict) -> Seen:\n"
        '    return Seen(n=order["n"])\n',
    )
    shell.run("emit", "orders", '{"n": 1}')
    shell.run("run", "--until-idle")
    shell.run("emit", "orders", '{"n": 2}')
    shell.run("run", "--until-idle")
    assert [event["data"]["n"] for event in shell.tail("seen")] == [2]


# -- functions and invoke -----------------------------------------------------------------------------------------


def test_functions_shows_options_with_their_source_and_schemas(shop: Shell) -> None:
    accept, audit = shop.json("functions")
    assert (accept["name"], audit["name"]) == ("accept", "audit")
    assert accept["topics"] == ["orders"]
    assert accept["emits"] == {"accepted": ["Accepted"]}
    assert accept["options"]["timeout"] == {"value": 1.0, "source": "code"}
    assert accept["options"]["order"] == {"value": "key", "source": "default"}
    assert accept["schema"]["required"] == ["id"]
    assert accept["doc"] == "Accept an order."
    assert "accept" in shop.run("functions").stdout


@pytest.mark.parametrize(
    ("id_", "outcome", "error", "code"),
    [
        ("1", "done", None, 0),
        ("reject", "rejected", "Rejected", 1),
        ("fail", "failed", "ValueError", 1),
        ("crash", "crashed", "WorkerCrashed", 1),
        ("hang", "timed-out", "HandlerTimeout", 1),
    ],
)
def test_invoke_tells_how_it_ended(shop: Shell, id_: str, outcome: str, error: str | None, code: int) -> None:
    result = shop.json("invoke", "functions.py::accept", json.dumps({"id": id_}), code=code)
    assert set(result) == {"outcome", "emitted", "error", "logs", "duration_ms"}
    assert result["outcome"] == outcome
    assert (result["error"] or {}).get("type") == error
    assert f"looking at {id_}" in [line["text"] for line in result["logs"]]


def test_invoke_shows_what_was_emitted(shop: Shell) -> None:
    result = shop.json("invoke", "functions.py::accept", '{"id": "1"}', "--key", "k")
    assert result["emitted"] == [
        {"topic": "accepted", "key": "k", "type": "Accepted", "data": {"id": "1", "attempt": 1}}
    ]


def test_invoke_skips_another_type_and_exits_with_nought(shop: Shell) -> None:
    assert shop.json("invoke", "functions.py::accept", "{}", "--type", "Other")["outcome"] == "skipped"


def test_invoke_of_an_unknown_function_says_which_there_are(shop: Shell) -> None:
    assert "accept, audit" in shop.run("invoke", "functions.py::nope", "{}", code=1).stderr


# -- a user's slips -----------------------------------------------------------------------------------------------

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
        ('@function("t")\ndef f(a: Missing): ...', ["functions.py:6", "Missing"]),
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


def test_an_unknown_setting_is_refused_by_name(shop: Shell) -> None:
    shop.write("headrace.toml", 'brokr = "sqlite:x.db"\n')
    assert "brokr" in shop.run("run", "--until-idle", code=1).stderr
