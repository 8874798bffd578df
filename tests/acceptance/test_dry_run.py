"""`headrace dlq redrive --dry-run`: what would pass and what would fail, found by running it, nothing published."""

from __future__ import annotations

import json

import pytest
from harness import Shell
from terminal import on_terminal

FUNCTIONS = """
import os
from pathlib import Path

from headrace import Context, Reject, Retry, RetryAfter, Sandbox, function


@function("orders", emits="seen", retry=Retry(attempts=2, delay=0.01), timeout=5.0, sandbox=Sandbox(env=["MENDED"]))
def note(order: dict, ctx: Context) -> None:
    trouble = order["trouble"]
    if os.environ.get("MENDED") != "yes" or trouble != "mended":
        if trouble == "crash":
            os._exit(3)
        if trouble == "rejected":
            raise Reject("not this one")
        if trouble == "later":
            raise RetryAfter(0.01)
        raise ValueError(f"broken: {order['n']}")
    with Path("mails").open("a") as mails:
        print(ctx.event.id, ctx.event.topic, ctx.event.offset, ctx.attempt, file=mails)
    ctx.emit("seen", order)


@function("orders")
def other(order: dict) -> None: ...
"""


class Shop(Shell):
    """A folder with a function `note` that an environment variable mends."""

    def fail(self, *troubles: str) -> None:
        lines = "\n".join(json.dumps({"n": n, "trouble": trouble}) for n, trouble in enumerate(troubles))
        self.run("emit", "orders", "-", "--key", "k", stdin=lines)
        self.run("run", "--until-idle")

    def mend(self) -> None:
        self.environment["MENDED"] = "yes"

    def letters(self) -> int:
        return sum(group["count"] for group in self.json("dlq", "list"))


@pytest.fixture
def shop(shell: Shell) -> Shop:
    shell.write("functions.py", FUNCTIONS)
    return Shop(shell.folder)


def test_each_letter_is_run_through_the_present_code_and_nothing_is_published(shop: Shop) -> None:
    shop.fail("crash", "mended", "wrong", "wrong", "rejected", "later", "mended")
    shop.mend()
    result = shop.run("dlq", "redrive", "note", "--all", "--dry-run", code=1)
    first, head, *rows = result.stdout.splitlines()
    assert first == "selected: 7, would pass: 2, would fail: 5"
    assert head.split() == ["count", "error_type", "fingerprint", "example", "message"]
    found = {row.split()[1]: row for row in rows}
    assert found.keys() == {"WorkerCrashed", "ValueError", "Rejected", "RetryAfter"}
    assert found["ValueError"].split()[0] == "2"
    assert "broken: " in found["ValueError"]
    assert "publishes nothing, but it runs note for real, once for each of 7 dead letter(s)" in result.stderr
    assert shop.letters() == 7
    assert shop.tail("seen") == []
    assert "shop.note.retry.redrive" not in {topic["name"] for topic in shop.json("topics")}


def test_what_the_handler_does_outside_of_the_log_happens_and_it_sees_the_event_as_a_redrive_would_show_it(
    shop: Shop,
) -> None:
    shop.fail("mended")
    (letter,) = shop.json("dlq", "show", "note", "--all")
    shop.mend()
    found = shop.json("dlq", "redrive", "note", "--event", letter["id"], "--dry-run", "--yes")
    assert found == {"selected": 1, "would_pass": 1, "would_fail": 0}
    (mail,) = (shop.folder / "mails").read_text().splitlines()
    assert mail.split() == [letter["id"], "orders", str(letter["origin"]["offset"]), "1"]
    assert shop.json("dlq", "redrive", "note", "--all", "--yes")["redriven"] == 1


def test_one_that_would_fail_makes_the_exit_code_one_in_json_too(shop: Shop) -> None:
    shop.fail("wrong")
    found = shop.json("dlq", "redrive", "note", "--all", "--dry-run", code=1)
    assert found == {"selected": 1, "would_pass": 0, "would_fail": 1}
    none = shop.run("dlq", "redrive", "note", "--event", "x", "--dry-run", "--json", code=1)
    assert json.loads(none.stdout) == {"selected": 0, "would_pass": 0, "would_fail": 0}
    assert "no open dead letter matches" in none.stderr


def test_the_letters_of_a_batch_function_are_run_one_by_one(shell: Shell) -> None:
    code = """
import os
from headrace import Batch, Context, Retry, Sandbox, function

@function("orders", batch=Batch(wait=0.01), retry=Retry(attempts=1), sandbox=Sandbox(env=["MENDED"]))
def store(orders: list[dict], ctx: Context) -> None:
    assert len(orders) == 1 or "MENDED" not in os.environ
    if "MENDED" not in os.environ or not orders[0]["good"]:
        raise ValueError("broken")
"""
    shell.write("functions.py", code)
    shell.run("emit", "orders", "-", stdin='{"good": true}\n{"good": false}\n{"good": true}\n')
    shell.run("run", "--until-idle")
    shell.environment["MENDED"] = "yes"
    found = shell.json("dlq", "redrive", "store", "--all", "--dry-run", code=1)
    assert found == {"selected": 3, "would_pass": 2, "would_fail": 1}


def test_without_the_code_it_says_to_name_it(shop: Shop) -> None:
    shop.fail("mended")
    shop.mend()
    code = shop.folder / "functions.py"
    moved = code.rename(shop.folder / "moved.py")
    words = ("dlq", "redrive", "note", "--all", "--dry-run")
    lacking = shop.run(*words, code=1).stderr
    assert "'note', which was not found: no functions found" in lacking
    assert "name it with --target" in lacking
    assert shop.json(*words, "--target", "moved.py")["would_pass"] == 1
    code.write_text(FUNCTIONS.replace("def note", "def notes"))
    other = shop.run(*words, code=1).stderr
    assert "has no such function (did you mean 'notes'?); it has: notes, other" in " ".join(other.split())
    assert "--target" in other
    moved.unlink()


@pytest.mark.parametrize(("answer", "code", "mails"), [("n", 130, 0), ("y", 0, 1)])
def test_on_a_terminal_it_asks_before_it_runs_anything(shop: Shop, answer: str, code: int, mails: int) -> None:
    shop.fail("mended")
    shop.mend()
    with on_terminal(shop, "dlq", "redrive", "note", "--all", "--dry-run") as terminal:
        terminal.until("Run it?")
        terminal.type(f"{answer}\n")
        assert terminal.wait() == code, terminal.shown
    sent = shop.folder / "mails"
    assert (len(sent.read_text().splitlines()) if sent.exists() else 0) == mails
