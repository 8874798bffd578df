"""kill -9 of the whole runtime in the middle of a stream: nothing is lost, nothing is doubled in the log."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Mailbox, Shell, copy_of_storefront, mail_server

ORDERS = 1000
KILLS = 4


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server(Mailbox(busy=lambda n: n % 50 == 0)) as box:
        yield box


def order(number: int) -> dict[str, object]:
    return {"order_id": f"order-{number}", "email": f"c{number % 40}@customers.example", "total": 1 + number}


def test_after_kill_nine_each_order_has_exactly_one_email_sent(tmp_path: Path, mailbox: Mailbox) -> None:
    shell = Shell(
        tmp_path,
        {"SMTP_URL": mailbox.url, "HEADRACE_TARGET": str(copy_of_storefront(tmp_path)), "HEADRACE_APP": "storefront"},
    )
    lines = "".join(json.dumps(order(n)) + "\n" for n in range(ORDERS))
    shell.run("emit", "orders", "-", "--type", "OrderPlaced", "--key-field", "email", stdin=lines)
    dice = random.Random(20261121)
    for kill in range(KILLS):
        with shell.start("run", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as runtime:
            mailbox.wait_for((kill + 1) * ORDERS // (KILLS + 2) + dice.randrange(40))
            if kill == KILLS - 1:
                mailbox.fall_silent()
            runtime.send_signal(signal.SIGKILL)
    assert len(mailbox.delivered) > len(shell.tail("emails")), "the last kill came between a mail and its settlement"
    mailbox.speaks.set()
    shell.run("run", "--until-idle")
    sent = Counter(event["data"]["order_id"] for event in shell.tail("emails"))
    assert sent == Counter(f"order-{n}" for n in range(ORDERS))
    assert {row["lag"] for row in shell.json("lag")} == {0}
    order_by_key: dict[str, list[int]] = {}
    for event in shell.tail("emails"):
        order_by_key.setdefault(event["key"], []).append(int(event["data"]["order_id"].split("-")[1]))
    assert all(numbers == sorted(numbers) for numbers in order_by_key.values())
