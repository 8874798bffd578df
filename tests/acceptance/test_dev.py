"""`headrace dev`: what is shown of each event, errors shown and mended. Real files, a real terminal."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from devshop import ANOTHER, FUNCTIONS, Shop
from harness import Shell
from terminal import PATIENCE

from headrace.cli.dev.settling import QUIET_S

SETUP = """
def shelf():
    yield 1 / 0
"""


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
