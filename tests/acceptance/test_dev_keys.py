"""`headrace dev`: its keys, and the terminal they are typed at."""

from __future__ import annotations

import signal
import subprocess
import termios
from pathlib import Path

import pytest
from devshop import ANOTHER, FUNCTIONS, Shop
from kafkaclient import fresh
from kafkaserver.source import Broker
from terminal import CTRL_Z


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.define()
    return shop


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
