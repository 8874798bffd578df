"""The storefront's order confirmation, over real SMTP."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from harness import Mailbox, Shell, copy_of_storefront

APP = {"HEADRACE_APP": "storefront"}


def orders(count: int) -> str:
    lines = [
        json.dumps({"order_id": f"order-{n}", "email": f"c{n % 9}@customers.example", "total": 10 + n})
        for n in range(count)
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def storefront(shell: Shell, mailbox: Mailbox) -> Shell:
    shell.environment |= {"SMTP_URL": mailbox.url, "HEADRACE_TARGET": str(copy_of_storefront(shell.folder)), **APP}
    return shell


def test_each_order_is_confirmed_by_one_mail_and_one_event(storefront: Shell, mailbox: Mailbox) -> None:
    storefront.run("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email", stdin=orders(25))
    storefront.run("run", "--until-idle")
    sent = [event["data"]["order_id"] for event in storefront.tail("emails")]
    assert sorted(sent) == sorted(f"order-{n}" for n in range(25))
    assert len(mailbox.delivered) == 25


def test_emitted_events_carry_their_lineage_and_the_key_of_their_cause(storefront: Shell) -> None:
    storefront.run("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email", stdin=orders(1))
    storefront.run("run", "--until-idle")
    (order,), (email,) = storefront.tail("orders"), storefront.tail("emails")
    assert email["type"] == "EmailSent"
    assert email["key"] == order["key"] == "c0@customers.example"
    assert email["headers"]["headrace-cause"] == email["headers"]["headrace-root"] == order["id"]
    assert email["headers"]["headrace-hops"] == "1"
    assert email["headers"]["ce_source"] == "/storefront/confirm_order"


def test_a_busy_mail_server_is_tried_again_and_each_order_still_confirmed_once(
    storefront: Shell, mailbox: Mailbox
) -> None:
    mailbox.busy = lambda n: n % 3 == 1
    storefront.run("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email", stdin=orders(12))
    log = storefront.run("run", "--until-idle").stderr
    assert "450" in log
    assert sorted(event["data"]["order_id"] for event in storefront.tail("emails")) == sorted(
        f"order-{n}" for n in range(12)
    )
    assert len(mailbox.delivered) == 12


def test_events_of_one_key_are_confirmed_in_order_even_when_some_are_tried_again(
    storefront: Shell, mailbox: Mailbox
) -> None:
    mailbox.busy = lambda n: n % 4 == 2
    storefront.run("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email", stdin=orders(30))
    storefront.run("run", "--until-idle")
    by_key: dict[str, list[int]] = {}
    for event in storefront.tail("emails"):
        by_key.setdefault(event["key"], []).append(int(event["data"]["order_id"].removeprefix("order-")))
    assert len(by_key) == 9
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


def test_an_order_the_mail_server_keeps_refusing_is_dead_lettered_after_five_attempts(
    storefront: Shell, mailbox: Mailbox
) -> None:
    mailbox.busy = lambda _: True
    storefront.run("emit", "orders", "-", "--type", "OrderPlaced", stdin=orders(1))
    storefront.run("run", "--until-idle")
    (letter,) = storefront.tail("storefront.confirm_order.dlt")
    assert letter["headers"]["headrace-attempt"] == "5"
    assert "450" in letter["headers"]["headrace-error-message"]
    assert letter["headers"]["headrace-origin-topic"] == "orders"
    assert mailbox.seen == 5
    assert letter["data"]["order_id"] == "order-0"


def test_a_missing_secret_refuses_the_start_and_says_how_to_set_it(storefront: Shell) -> None:
    del storefront.environment["SMTP_URL"]
    refused = storefront.run("run", "--until-idle", code=1)
    assert "SMTP_URL" in refused.stderr
    assert "export SMTP_URL" in refused.stderr


def test_two_runtimes_at_once_confirm_each_order_once(storefront: Shell, mailbox: Mailbox) -> None:
    with (
        storefront.start("run", stderr=subprocess.PIPE) as one,
        storefront.start("run", stderr=subprocess.PIPE) as two,
    ):
        for runtime in (one, two):
            assert any("serving" in line for line in runtime.stderr)
        storefront.run("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email", stdin=orders(60))
        mailbox.wait_for(60)
        for runtime in (one, two):
            runtime.send_signal(signal.SIGTERM)
        for runtime in (one, two):
            log = runtime.communicate()[1]
            assert "confirmation sent" in log, "each has half of the partitions"
            assert "Traceback" not in log
            assert runtime.returncode == 0
    sent = [event["data"]["order_id"] for event in storefront.tail("emails")]
    assert sorted(sent) == sorted(f"order-{n}" for n in range(60))
    assert len(mailbox.delivered) == 60
    assert [row["lag"] for row in storefront.json("lag") if row["function"] == "confirm_order"] == [0, 0, 0, 0]


def test_the_demo_shows_it_and_comes_out_right(shell: Shell) -> None:
    tally = shell.json("demo", "--orders", "12")
    assert tally["right"]
    assert (tally["orders"], tally["emails_sent"], tally["dead_letters"]) == (12, 11, 1)
    assert tally["mails_refused"] > 0
    assert tally["refunds"] == tally["refunds_due"] > 0
    assert tally["tea_left"] == tally["tea_due"]
    told = shell.run("demo", "--orders", "12").stdout
    assert "450" in told
    assert "dead-lettered" in told
    assert "11 confirmation e-mails delivered" in told
    assert told.count("confirmed") == 11, "each order once; events of other types are no story"
    assert "shipped and cancelled: 22.50 refunded" in told


def test_the_demo_comes_to_its_end_when_nobody_reads_on(shell: Shell) -> None:
    with shell.start("demo", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert "confirm_order" in demo.stdout.readline()
        demo.stdout.close()
        assert demo.stderr.read() == ""
        demo.wait(60)


def test_an_address_refused_for_good_is_dead_lettered_at_the_first_attempt(storefront: Shell, mailbox: Mailbox) -> None:
    storefront.run("emit", "orders", '{"order_id": "1", "email": "a@b", "total": 1}', "--type", "OrderPlaced")
    mailbox.refuse = "550 5.1.1 no such mailbox"
    storefront.run("run", "--until-idle")
    (letter,) = storefront.tail("storefront.confirm_order.dlt")
    assert letter["headers"]["headrace-error-type"] == "Rejected"
    assert "no such mailbox" in letter["headers"]["headrace-error-message"]
    assert mailbox.seen == 1
