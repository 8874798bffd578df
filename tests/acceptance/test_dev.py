"""`headrace dev`: what is shown of each event, errors shown and mended, keys. Real files, a real terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Shell
from kafkaclient import fresh
from kafkaserver.source import Broker
from terminal import CTRL_Z, PATIENCE, Terminal, on_terminal

from headrace.cli.dev.settling import QUIET_S

FUNCTIONS = """
from pydantic import BaseModel
from headrace import Context, Reject, Retry, function

class Order(BaseModel):
    n: int

class Sent(BaseModel):
    n: int

@function("orders", emits={"emails": Sent}, retry=Retry(attempts=ATTEMPTS, delay=600, max_delay=600, jitter="none"))
def confirm(order: Order, ctx: Context) -> Sent:
    print("sending", order.n)
    if order.n == 13 and ctx.attempt < 3:
        raise ValueError("unlucky")
    return Sent(n=order.n)
"""
ANOTHER = """
@function("emails")
async def count(sent: Sent) -> None:
    pass
"""


SETUP = """
def shelf():
    yield 1 / 0
"""


class Shop(Shell):
    """A folder with functions, and `headrace dev` in it."""

    def define(self, more: str = "", *, attempts: int = 3, mended: bool = False) -> Path:
        text = FUNCTIONS.replace("ATTEMPTS", str(attempts)).replace("n == 13", "n == 14" if mended else "n == 13")
        return self.write("functions.py", text + more)

    @contextmanager
    def dev(self, *arguments: str, columns: int = 160) -> Iterator[Terminal]:
        with on_terminal(self, "dev", *arguments, columns=columns) as terminal:
            yield terminal

    def order(self, n: int) -> None:
        self.run("emit", "orders", json.dumps({"n": n}), "--type", "Order", "--key", str(n))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.define()
    return shop


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_each_attempt_is_a_line_with_its_output_and_its_error(shop: Shop) -> None:
    shop.define(ANOTHER)
    with shop.dev() as dev:
        dev.until("keys:")
        shop.order(1)
        done = dev.line("-> emails Sent")
        assert done.split()[1:4] == ["confirm", done.split()[2], "Order"]
        assert done.split()[2].startswith("orders/")
        assert " ms  done  -> emails Sent" in done
        assert "confirm" in dev.line("| sending 1")
        dev.line("done", dev.until("count     emails/"))
        shop.order(13)
        failed = dev.until("failed 1/3 -> again in 10.0 min")
        dev.until("    ValueError: unlucky\n      functions.py:15 in confirm: raise ValueError", failed - 200)
        assert dev.end() == 0
        assert "Traceback" not in dev.shown


def test_with_json_each_event_is_a_document_on_stdout_and_nothing_else_is(shop: Shop) -> None:
    shop.order(1)
    shop.order(13)
    with shop.start("dev", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dev:
        assert dev.stdout is not None
        documents = []
        while sum(one["kind"] == "attempt" for one in documents) < 2:
            documents.append(json.loads(dev.stdout.readline()))
        dev.terminate()
        rest, _ = dev.communicate()
    documents += [json.loads(line) for line in rest.splitlines()]
    attempts = {one["outcome"]: one for one in documents if one["kind"] == "attempt"}
    done, failed = attempts["done"], attempts["failed"]
    assert (done["function"], done["type"], done["topic"], done["attempt"]) == ("confirm", "Order", "orders", 1)
    assert [(one["topic"], one["type"]) for one in done["emits"]] == [("emails", "Sent")]
    assert done["duration_ms"] > 0
    assert (failed["then"], failed["again_in_s"], failed["attempts"]) == ("again", 600.0, 3)
    assert failed["error"]["type"] == "ValueError"
    assert "functions.py" in failed["error"]["stack"]
    said = [one for one in documents if one["kind"] == "output"]
    assert {one["text"] for one in said} == {"sending 1", "sending 13"}
    assert {one["event"] for one in said} == {done["id"], failed["id"]}


def test_a_backlog_is_counted_and_not_listed_event_by_event(shop: Shop) -> None:
    shop.write(
        "functions.py", 'from headrace import function\n@function("orders")\ndef note(data: dict) -> None:\n    pass\n'
    )
    count = 20_000
    shop.run("emit", "orders", "-", stdin='{"n": 1}\n' * count)
    with shop.dev() as dev:
        dev.until(" more done (note ")
        shop.run("run", "--until-idle")  # shares the partitions: idle when all is handled
        shop.run("emit", "orders", '{"last": true}')
        assert dev.end() == 0
        lines = [line for line in dev.shown.splitlines() if " done" in line]
    assert len(lines) < 1000
    told = sum(
        int(line.split(" more done")[0].split("… ")[-1].replace(",", "")) for line in lines if "more done" in line
    )
    assert told > 0


def test_on_a_narrow_terminal_no_line_wraps(shop: Shop) -> None:
    with shop.dev(columns=60) as dev:
        dev.until("keys:")
        shop.order(13)
        dev.until("ValueError: unlucky", dev.until("failed 1/3"))
        dev.end()
        events = [line for line in dev.shown.splitlines() if "orders/" in line and "->" not in line[:30]]
    assert events
    assert all(len(line) <= 60 for line in events)


def test_whoever_reads_along_may_leave(shop: Shop) -> None:
    with shop.start("dev", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dev:
        assert dev.stdout is not None
        dev.stdout.readline()
        dev.stdout.close()
        shop.order(1)
        assert dev.wait(PATIENCE) == 0


# -- code that is being written ---------------------------------------------------------------------------------------


def test_code_that_cannot_be_loaded_is_shown_once_with_its_place_and_the_old_one_serves(shop: Shop) -> None:
    with shop.dev() as dev:
        dev.until("keys:")
        shop.define("\nx = 1 / 0\n")
        error = dev.line("ZeroDivisionError")
        assert "functions.py:18: cannot be imported" in error
        place = dev.until("still serving the code of ")
        shop.order(1)
        dev.until("-> emails Sent", place)
        shop.define("\nx = 1 / 0  # \n")
        shop.define("\ny = nobody\n")
        dev.until("NameError", place)
        shop.define()
        place = dev.until("mended", place)
        shop.order(2)
        dev.until("-> emails Sent", place)
        dev.end()
        assert dev.shown.count("ZeroDivisionError") == 1
        assert dev.shown.count("NameError") == 1
        assert dev.shown.count("mended") == 1


def test_a_file_that_is_away_or_half_written_for_a_moment_is_no_error(shop: Shop) -> None:
    with shop.dev() as dev:
        dev.until("keys:")
        whole = shop.define(ANOTHER).read_text()
        began_s = time.monotonic()
        (shop.folder / "functions.py").write_text(whole[:300])
        (shop.folder / "functions.py").unlink()
        shop.write("functions.py", whole)
        was_a_moment = time.monotonic() - began_s < QUIET_S
        dev.until("reloaded in")
        dev.end()
        assert not was_a_moment or "cannot be" not in dev.shown
        assert not was_a_moment or "still serving" not in dev.shown


def test_what_cannot_be_loaded_at_the_start_is_waited_for(shop: Shop) -> None:
    shop.define("\nx = 1 / 0\n")
    with shop.dev() as dev:
        dev.until("nothing is served yet", dev.until("ZeroDivisionError"))
        shop.define()
        dev.until("keys:")
        shop.order(1)
        dev.until("-> emails Sent")
        assert dev.end() == 0


def test_settings_that_change_before_anything_is_served_are_in_force_once_it_is(shop: Shop) -> None:
    shop.write("headrace.toml", 'app = "first"\n')
    shop.define("\nx = 1 / 0\n")
    with shop.dev() as dev:
        place = dev.until("nothing is served yet")
        shop.write("headrace.toml", 'app = "second"\n[functions.nobody]\ntimeout = 3\n')
        shop.define()
        place = dev.until("nothing is served yet", dev.until("no function has that name; there are: confirm", place))
        shop.write("headrace.toml", 'app = "second"\n[functions.confirm.retry]\nattempts = 1\n')
        dev.until("keys:", dev.until("second on sqlite:", place))
        shop.order(13)
        dev.until("failed 1/1 -> dead-lettered")
        assert dev.end() == 0


def test_a_second_runtime_on_the_log_is_told_of_the_first(shop: Shop) -> None:
    with shop.dev() as first:
        first.until("keys:")
        shop.order(1)
        first.until("done")
        with shop.dev() as second:
            second.until(f"process {first.pid} on ")
            second.until("serves confirm too: events that it gets are not shown here")
            second.end()
        first.end()


def test_a_target_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no functions found" in Shell(tmp_path).run("dev", code=1).stderr


def test_a_folder_of_functions_that_is_gone_is_told_and_served_again_once_it_is_back(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write("functions/orders.py", FUNCTIONS.replace("ATTEMPTS", "3"))
    with shop.dev() as dev:
        dev.until("keys:")
        (shop.folder / "functions").rename(shop.folder / "away")
        place = dev.until("still serving the code of")
        (shop.folder / "away").rename(shop.folder / "functions")
        dev.until("mended", place)
        dev.end()


def test_a_helper_module_and_settings_are_watched_too(shop: Shop) -> None:
    shop.write("lib/helper.py", "A = 1\n")
    with shop.dev() as dev:
        dev.until("keys:")
        shop.write("lib/helper.py", "A = 2\n")
        place = dev.until("reloaded in")
        shop.write("headrace.toml", "[functions.nobody]\ntimeout = 3\n")
        place = dev.until("no function has that name; there are: confirm", place)
        (shop.folder / "headrace.toml").write_bytes(b"\xff")
        place = dev.until("is not valid TOML", place)
        shop.write("headrace.toml", "[functions.confirm]\ntimeout = 3\n")
        dev.until("mended", place)
        dev.end()


def test_code_whose_setup_fails_does_not_count_as_reloaded_and_a_pause_is_told_to_be_over(shop: Shop) -> None:
    with_setup = SETUP + FUNCTIONS.replace("retry=Retry(attempts=ATTEMPTS", "setup=shelf, retry=Retry(attempts=3")
    with shop.dev() as dev:
        dev.until("keys:")
        shop.write("functions.py", with_setup)
        place = dev.until("not reloaded in")
        dev.until("confirm: its old code still serves: functions.py:3: the setup of confirm failed", place)
        shop.write("functions.py", with_setup.replace('"orders"', '"orders", "more"'))
        place = dev.until("paused: functions.py:3: the setup of confirm failed", place)
        shop.write("functions.py", with_setup.replace('"orders"', '"orders", "more"').replace("1 / 0", "1"))
        place = dev.until("goes on", place)
        dev.end()


# -- keys -------------------------------------------------------------------------------------------------------------


def test_r_reruns_an_event_that_waits_for_its_next_attempt_now(shop: Shop) -> None:
    with shop.dev() as dev:
        dev.until("keys:")
        dev.type("r")
        dev.until("nothing to rerun")
        shop.order(13)
        place = dev.until("failed 1/3 -> again in 10.0 min")
        dev.type("r")
        place = dev.until("failed 2/3 -> again in 10.0 min", dev.until("rerunning confirm orders/", place))
        dev.type("r")
        dev.until("done 3/3  -> emails Sent", place)
        dev.type("r")
        dev.until("nothing to rerun", place)
        dev.end()


def test_r_reruns_an_event_that_was_dead_lettered_from_its_letter(shop: Shop) -> None:
    shop.define(attempts=1)
    with shop.dev() as dev:
        dev.until("keys:")
        shop.order(13)
        place = dev.until("failed 1/1 -> dead-lettered")
        for _ in range(4):  # more often than `dlq redrive` does without --force
            dev.type("r")
            place = dev.until("from its dead letter", place)
            place = dev.until("failed 1/1 -> dead-lettered", place)
        dev.end()
    (group,) = shop.json("dlq", "list")
    assert group["count"] == 1


def test_on_kafka_r_reruns_from_the_dead_letter_too_and_e_emits(shop: Shop, kafka: Broker) -> None:
    topic = fresh("orders")
    shop.environment |= {"HEADRACE_BROKER": kafka.url, "HEADRACE_APP": fresh("shop")}
    text = shop.define(attempts=1).read_text()
    shop.write("functions.py", text.replace('"orders"', f'"{topic}"').replace("n == 13", "n > 0"))  # samples begin at 1
    with shop.dev() as dev:
        dev.until("keys:")
        dev.type("e")
        place = dev.until("failed 1/1 -> dead-lettered")
        dev.type("r")
        place = dev.until("from its dead letter", place)
        dev.until("failed 1/1 -> dead-lettered", place)
        assert dev.end() == 0
    (group,) = shop.json("dlq", "list")
    assert group["count"] == 1


def test_r_says_that_the_function_has_left_the_topic_of_the_event(shop: Shop) -> None:
    with shop.dev() as dev:
        dev.until("keys:")
        shop.order(13)
        place = dev.until("failed 1/3")
        shop.write("functions.py", FUNCTIONS.replace("ATTEMPTS", "3").replace('"orders"', '"returns"'))
        place = dev.until("subscribed anew: confirm", place)
        dev.type("r")
        dev.until("cannot be rerun: confirm does not subscribe to 'orders' any more", place)
        dev.end()


def test_r_says_why_an_event_that_was_discarded_cannot_be_rerun(shop: Shop) -> None:
    text = shop.define(attempts=1).read_text()
    shop.write(
        "functions.py",
        text.replace("emits=", 'dead_letter=Discard("toys"), emits=').replace("import C", "import Discard, C"),
    )
    with shop.dev() as dev:
        dev.until("keys:")
        shop.order(13)
        dev.until("failed 1/1 -> discarded")
        dev.type("r")
        dev.until("cannot be rerun: confirm discards what it cannot handle")
        dev.end()


def test_an_event_that_failed_is_handled_by_the_code_that_was_mended_for_it(shop: Shop) -> None:
    with shop.dev() as dev:
        dev.until("keys:")
        shop.order(13)
        place = dev.until("failed 1/3 -> again in 10.0 min")
        shop.define(mended=True)
        place = dev.until("new code: confirm", dev.until("reloaded in", place))
        dev.type("r")
        dev.until("done 2/3  -> emails Sent", dev.until("rerunning confirm", place))
        dev.end()


def test_after_each_reload_the_last_failed_event_is_rerun_if_asked_for(shop: Shop) -> None:
    with shop.dev("--rerun-last-failed") as dev:
        dev.until("keys:")
        shop.order(13)
        place = dev.until("failed 1/3 -> again in 10.0 min")
        shop.define("\nx = 1\n")
        place = dev.until("failed 2/3", dev.until("rerunning confirm", dev.until("reloaded in", place)))
        shop.define(mended=True)
        dev.until("done 3/3  -> emails Sent", dev.until("reloaded in", place))
        dev.end()


def test_e_emits_a_sample_that_the_function_takes(shop: Shop) -> None:
    with shop.dev() as dev:
        dev.until("keys:")
        dev.type("e")
        dev.until("emitted Order to orders/")
        dev.until("confirm   orders/")
        dev.end()


def test_e_asks_which_function_where_there_are_several(shop: Shop) -> None:
    shop.define(ANOTHER)
    with shop.dev() as dev:
        dev.until("keys:")
        dev.type("e")
        place = dev.until("2  count (emails)")
        dev.type("2")
        dev.until("emitted Sent to emails/", place)
        place = dev.until("done", dev.until("count     emails/", place))
        dev.type("2")  # no menu is open any more
        dev.until("keys: r rerun", place)
        dev.end()


def test_q_drains_and_leaves_the_terminal_as_it_was(shop: Shop) -> None:
    with shop.dev() as dev:
        before = dev.found
        dev.until("keys:")
        assert dev.settings != before
        dev.type("?")
        dev.until("q  quit")
        dev.type("q")
        assert dev.wait() == 0
        assert dev.settings == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_however_it_is_ended_the_terminal_is_as_it_was(shop: Shop, number: int) -> None:
    with shop.dev() as dev:
        before = dev.found
        dev.until("keys:")
        dev.end(number)
        assert dev.settings == before


def test_while_it_is_stopped_the_terminal_is_as_it_was_and_keys_work_again_after_that(shop: Shop) -> None:
    with shop.dev() as dev:
        before = dev.found
        dev.until("keys:")
        dev.type(CTRL_Z)
        dev.until_stopped()
        assert dev.settings == before
        dev.go_on()
        place = len(dev.shown)
        dev.type("?")
        dev.until("q  quit", place)
        assert dev.settings != before
        dev.type("q")
        assert dev.wait() == 0
        assert dev.settings == before


def test_without_keys_the_terminal_is_not_touched(shop: Shop) -> None:
    with shop.dev("--no-keys") as dev:
        before = dev.found
        shop.order(1)
        dev.until("-> emails Sent")
        assert dev.settings == before
        assert dev.settings[3] & termios.ICANON
        dev.end()
        assert "keys:" not in dev.shown


def test_without_a_terminal_there_are_no_keys_and_no_colours(shop: Shop) -> None:
    shop.order(1)
    coloured = {name: value for name, value in shop.env.items() if name != "NO_COLOR"}
    with shop.start(
        "dev", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=coloured
    ) as dev:
        assert dev.stdout is not None
        shown = []
        while not shown or "-> emails Sent" not in shown[-1]:
            shown.append(dev.stdout.readline())
        dev.terminate()
        shown.append(dev.communicate()[0])
    assert "\x1b" not in "".join(shown)
    assert "keys:" not in "".join(shown)
