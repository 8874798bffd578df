"""The commands as a user types them: what they print, how they fail."""

from __future__ import annotations

import json
import signal
import subprocess

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
    shell.write("functions.py", FUNCTIONS)
    return shell


@pytest.fixture
def short(shop: Shell) -> Shell:
    """The same with a timeout that is waited for."""
    shop.write(
        "functions.py", FUNCTIONS.replace('emits={"accepted": Accepted})', 'emits={"accepted": Accepted}, timeout=3.0)')
    )
    return shop


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


def test_crashes_and_timeouts_are_charged_to_the_event_and_the_rest_is_handled(short: Shell) -> None:
    shop, ids = short, ["1", "crash", "2", "hang", "3"]
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
        assert runtime.wait(90) == 0
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
        assert runtime.wait(90) == 0
    assert shell.tail("shop.stay.dlt") == []
    assert sum(row["lag"] for row in shell.json("lag")) == 1


def test_events_emitted_while_it_runs_are_handled(shop: Shell) -> None:
    with shop.start("run", stderr=subprocess.PIPE) as runtime:
        assert runtime.stderr is not None
        assert any("serving" in line for line in iter(runtime.stderr.readline, ""))
        shop.run("emit", "orders", '{"id": "9"}')
        assert any("accepting" in line for line in iter(runtime.stderr.readline, ""))
        runtime.send_signal(signal.SIGTERM)
        assert runtime.wait(90) == 0


def test_a_backlog_brings_up_more_workers_and_events_of_one_key_keep_their_order(shell: Shell) -> None:
    shell.write(
        "functions.py",
        "import os, time\n"
        "from pathlib import Path\n"
        "from pydantic import BaseModel\n"
        "from headrace import function\n"
        "class Seen(BaseModel):\n"
        "    n: int\n"
        "    worker: int\n"
        '@function("orders", emits={"seen": Seen}, workers=(0, 3))\n'
        "def see(order: dict) -> Seen:\n"
        "    Path(f'worker-{os.getpid()}').touch()\n"
        "    while len(list(Path().glob('worker-*'))) < 3:\n"
        "        time.sleep(0.01)\n"
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
    assert audit["options"]["timeout"] == {"value": 1.0, "source": "code"}
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
def test_invoke_tells_how_it_ended(short: Shell, id_: str, outcome: str, error: str | None, code: int) -> None:
    result = short.json("invoke", "functions.py::accept", json.dumps({"id": id_}), code=code)
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
