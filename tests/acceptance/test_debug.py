"""`headrace invoke --debug`: a real debugger in a real worker, at a real terminal."""

from __future__ import annotations

import json
import subprocess

import pytest
from harness import Shell
from terminal import CTRL_C, CTRL_D, CTRL_Z, on_terminal

FUNCTIONS = """
import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from pydantic import BaseModel
from headrace import Batch, Context, Reject, function

class Order(BaseModel):
    id: str

class Seen(BaseModel):
    id: str
    note: str = ""

@function("orders", emits={"seen": Seen}, timeout=0.2)
def look(order: Order, ctx: Context) -> Seen:
    note = "first"
    print("looking at", order.id)
    ctx.log.info("logged", order=order.id)
    if order.id == "fail":
        raise ValueError(f"cannot take {note}")
    if order.id == "reject":
        raise Reject("not this one")
    return Seen(id=order.id, note=note)

async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number

@function("orders", emits={"seen": Seen}, concurrency=4, timeout=0.2)
async def wait(order: Order) -> Seen:
    number = await double(4)
    number = await double(number)
    if order.id == "fail":
        raise ValueError("it fails")
    return Seen(id=str(number))

@function("orders", emits={"seen": Seen})
def halt(order: Order) -> Seen:
    try:
        found = order.id
        breakpoint()
        found += "!"
    except Exception:
        found = "swallowed"
    return Seen(id=found)

@function("orders", batch=Batch(size=3, wait=0.1), emits={"seen": Seen})
def many(orders: list[Order]) -> list[Seen]:
    ids = [order.id for order in orders]
    return [Seen(id=one) for one in ids]

def opened() -> Iterator[str]:
    word = "open"
    breakpoint()
    yield word

@function("orders", setup=opened, emits={"seen": Seen})
def keep(order: Order, ctx: Context[str]) -> Seen:
    return Seen(id=ctx.state)

async def broken() -> AsyncIterator[str]:
    host = "nowhere"
    raise OSError(f"no route to {host}")
    yield host

@function("orders", setup=broken)
async def lost(order: Order) -> None: ...

@function("orders")
def spin(order: Order) -> None:
    going = True  # before it says so: it may be interrupted in there
    print("spinning")
    while going:
        pass

@function("orders")
def end(order: Order) -> None:
    import os
    os._exit(3)
"""


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.write("functions.py", FUNCTIONS)
    return shell


def debug(name: str, id_: str = "1", *options: str) -> tuple[str, ...]:
    return ("invoke", f"functions.py::{name}", json.dumps({"id": id_}), "--debug", *options)


def test_it_stops_at_the_first_line_and_does_what_it_is_told(shop: Shell) -> None:
    with on_terminal(shop, *debug("look")) as terminal:
        start = terminal.answer("p order.id")
        assert "debugging look:" in start
        assert '-> note = "first"' in start
        assert "'1'" in terminal.answer("n")
        assert "-> print(" in terminal.answer("n")
        assert "looking at 1\n" in terminal.answer("w"), "what is printed is shown at once"
        where = terminal.answer("!note = 'changed'")
        assert [line for line in where.splitlines() if ".py(" in line] == [
            line for line in where.splitlines() if "/functions.py(" in line
        ], "no frames but the user's"
        terminal.answer("c")
        assert terminal.wait() == 0
    after = terminal.shown.partition("done in ")[2]
    assert 'emitted to seen: Seen {"id": "1", "note": "changed"}' in after
    assert "stdout: looking at 1" in after
    assert "log: logged order='1'" in after


def test_an_async_handler_is_followed_over_its_awaits_and_into_what_it_calls(shop: Shell) -> None:
    with on_terminal(shop, *debug("wait")) as terminal:
        assert "-> number = await double(4)" in terminal.answer("n")
        assert "-> number = await double(number)" in terminal.answer("p number")
        assert "8" in terminal.answer("s")
        assert "double(" in terminal.answer("n")
        assert "await asyncio.sleep(0)" in terminal.answer("n")
        assert "return 2 * number" in terminal.answer("c")
        assert terminal.wait() == 0
    assert 'Seen {"id": "16"' in terminal.shown


def test_breakpoint_stops_where_it_stands(shop: Shell) -> None:
    with on_terminal(shop, *debug("halt")) as terminal:
        terminal.answer("c")
        stopped = terminal.answer("p found")
        assert '-> found += "!"' in stopped or "-> breakpoint()" in stopped, "the line itself from Python 3.13 on"
        assert "'1'" in terminal.answer("c")
        assert terminal.wait() == 0
    assert '{"id": "1!"' in terminal.shown


def test_a_batch_handler_stops_too(shop: Shell) -> None:
    with on_terminal(shop, *debug("many")) as terminal:
        assert "-> ids = [" in terminal.answer("p len(orders)")
        assert "1" in terminal.answer("c")
        assert terminal.wait() == 0


def test_a_setup_is_debugged_and_its_state_is_there(shop: Shell) -> None:
    with on_terminal(shop, *debug("keep")) as terminal:
        assert "opened()" in terminal.answer("!word = 'shut'")
        terminal.answer("c")
        assert "-> return Seen(id=ctx.state)" in terminal.answer("p ctx.state")
        assert "'shut'" in terminal.answer("c")
        assert terminal.wait() == 0
    assert '{"id": "shut"' in terminal.shown


@pytest.mark.parametrize("name", ["look", "wait"])
def test_what_a_handler_raises_is_looked_at_where_it_was_raised(shop: Shell, name: str) -> None:
    with on_terminal(shop, *debug(name, "fail")) as terminal:
        terminal.answer("c")
        raised = terminal.answer("p order.id")
        assert "ValueError: " in raised
        assert "-> raise ValueError(" in raised
        assert "'fail'" in terminal.answer("w")
        assert "debugger.py" not in terminal.answer("q")
        assert terminal.wait() == 1
    assert "failed in " in terminal.shown
    assert "Traceback" not in terminal.shown


def test_a_setup_that_fails_is_looked_at_too(shop: Shell) -> None:
    with on_terminal(shop, *debug("lost")) as terminal:
        assert "OSError: no route to nowhere" in terminal.answer("p host")
        assert "'nowhere'" in terminal.answer("q")
        assert terminal.wait() == 1
    assert "the setup of lost failed: OSError: no route to nowhere" in terminal.shown


def test_a_rejected_event_is_no_accident(shop: Shell) -> None:
    with on_terminal(shop, *debug("look", "reject")) as terminal:
        terminal.answer("c")
        assert terminal.wait() == 1
    assert "Rejected: not this one" in terminal.shown
    assert terminal.shown.count("(Pdb)") == 1


@pytest.mark.parametrize("how", ["q", "exit", CTRL_D])
@pytest.mark.parametrize("name", ["look", "wait", "halt"])
def test_quitting_ends_the_invocation_and_says_so(shop: Shell, name: str, how: str) -> None:
    with on_terminal(shop, *debug(name)) as terminal:
        if name == "halt":
            terminal.answer("c")
        terminal.prompted()
        terminal.type(how if how == CTRL_D else f"{how}\n")
        assert terminal.wait() == 1
    assert "DebuggerQuit: you quit the debugger\n" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert "swallowed" not in terminal.shown


def test_quitting_a_setup_says_so(shop: Shell) -> None:
    with on_terminal(shop, *debug("keep")) as terminal:
        terminal.answer("q")
        assert terminal.wait() == 1
    assert "the setup of keep failed: headrace.sandbox.debugger.DebuggerQuit: you quit the debugger" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_no_time_limit_is_in_force(shop: Shell) -> None:
    with on_terminal(shop, *debug("look")) as terminal:
        terminal.answer("!import time; time.sleep(3)")  # its timeout is 0.2 s, and two later it would be killed
        terminal.answer("c")
        assert terminal.wait() == 0


@pytest.mark.parametrize("name", ["look", "keep"])  # the second one stops in its setup
def test_ctrl_c_at_the_prompt_ends_nothing(shop: Shell, name: str) -> None:
    with on_terminal(shop, *debug(name)) as terminal:
        terminal.prompted()
        # CPython takes no notice of a signal between its prompt and its wait for a key, until there is one.
        terminal.type(CTRL_C)
        terminal.type_until("\n", "--KeyboardInterrupt--")
        terminal.type("c\n")
        if name == "keep":
            terminal.until("(Pdb) ", terminal.until("-> return Seen(id=ctx.state)"))
            terminal.type("c\n")
        assert terminal.wait() == 0


def test_ctrl_c_stops_what_runs_in_the_debugger(shop: Shell) -> None:
    with on_terminal(shop, *debug("spin")) as terminal:
        terminal.answer("c")
        terminal.until("spinning\n")
        terminal.type(CTRL_C)
        terminal.answer("!going = False")
        terminal.answer("c")
        assert terminal.wait() == 0


def test_ctrl_z_does_not_leave_a_debugger_behind(shop: Shell) -> None:
    with on_terminal(shop, *debug("look")) as terminal:
        terminal.prompted()
        terminal.type(CTRL_Z)
        terminal.type("c\n")
        assert terminal.wait() == 0


def test_lines_can_be_edited_and_the_terminal_is_left_as_it_was(shop: Shell) -> None:
    pytest.importorskip("readline")
    with on_terminal(shop, *debug("look", "1", "--json"), stdout=subprocess.PIPE) as terminal:
        before = terminal.found
        terminal.prompted()
        assert terminal.settings != before, "the debugger reads key by key"
        terminal.type("p 12\x1b[D\x1b[D4\n")  # twice the arrow to the left
        assert "412" in terminal.answer("c")
        result = json.loads(terminal.stdout.read())
        assert terminal.settings == before
        assert terminal.wait() == 0
    assert result["outcome"] == "done"
    assert [line["text"] for line in result["logs"]] == ["looking at 1", "logged"]


def test_a_worker_that_ends_leaves_the_terminal_as_it_was(shop: Shell) -> None:
    with on_terminal(shop, *debug("end")) as terminal:
        terminal.answer("import os; os.kill(os.getpid(), 9)")  # at the prompt, where keys are read one by one
        terminal.until("crashed in ")
        assert terminal.wait() == 1
        assert terminal.settings == terminal.found


def test_a_sample_and_a_past_event_are_debugged_the_same_way(shop: Shell) -> None:
    position = shop.json("emit", "orders", '{"id": "past"}')
    place = f"orders:{position['partition']}:{position['offset']}"
    for option, says in ((["--sample"], "sample of Order"), (["--from", place], f"from {place.replace(':', '/')}")):
        with on_terminal(shop, "invoke", "functions.py::look", "--debug", *option) as terminal:
            assert says in terminal.answer("c"), "told before it stops"
            assert terminal.wait() == 0


def test_without_a_terminal_it_is_refused(shop: Shell) -> None:
    refused = shop.run(*debug("look"), code=2, stdin="c\n")
    assert "--debug talks to you at a terminal, and stdin is none" in refused.stderr


def test_without_debug_a_breakpoint_says_how_to_stop_at_it(shop: Shell) -> None:
    shop.write(
        "functions.py", FUNCTIONS.replace("except Exception:", "finally:").replace('found = "swallowed"', "pass")
    )
    failed = shop.run("invoke", "functions.py::halt", '{"id": "1"}', code=1)
    assert "a worker has no terminal; headrace invoke TARGET::NAME … --debug stops here" in failed.stdout
