"""The storefront whole: producers, stock and refunds, with workers and the runtime killed at random."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
from events import Line
from harness import Mailbox, Shell, children_of, copy_of_storefront
from producers.carts import Carts
from producers.fulfillment import Fulfillment
from producers.orders import Orders

from headrace import Log, connect

ORDERS = 160
SHARE = 40
PRODUCTS = ["tea", "mug", "spoon"]
RECEIVED = 200
CARTS = "SELECT count(*) FROM handled WHERE event LIKE '%checked-out'"
HOLD = f"""

def is_held():
    if not (hold := Path("shop/hold")).exists():
        return False
    with sqlite3.connect(FILE, timeout=20) as rows:
        return rows.execute({CARTS!r}).fetchone()[0] >= int(hold.read_text())


def held(once):
    def change(*args):
        given = once(*args)
        while is_held():
            time.sleep(0.01)
        return given

    return change


import time

once = held(once)
"""


@pytest.fixture
def storefront(shell: Shell, mailbox: Mailbox) -> Shell:
    """The example's own folder, as a reader has it; the functions of the shop's database have two workers each.

    While there is a file `shop/hold`, who has committed there as many carts as it says goes on no further.
    """
    folder = copy_of_storefront(shell.folder)
    for name in ("inventory.py", "support.py"):
        code = (folder / name).read_text()
        assert "workers=(0, 2)" in code
        (folder / name).write_text(code.replace("workers=(0, 2)", "workers=2"))
    with (folder / "shop.py").open("a") as code:
        code.write(HOLD)
    return Shell(folder, {"SMTP_URL": mailbox.url})


def lines_of(number: int) -> list[Line]:
    return [Line(sku=PRODUCTS[number % 3], quantity=number % 4 + 1), Line(sku="tea", quantity=1)]


def is_cancelled(number: int) -> bool:
    return number % 3 == 0


def is_shipped(number: int) -> bool:
    return number % 2 == 0


def total(number: int) -> float:
    return 10.0 + number


def expected_stock() -> dict[str, int]:
    stock = dict.fromkeys(PRODUCTS, RECEIVED)
    for number in range(ORDERS):
        for line in lines_of(number):
            stock[line.sku] -= 0 if is_cancelled(number) else line.quantity
    return stock


def expected_refunds() -> Counter[tuple[str, float]]:
    both = (n for n in range(ORDERS) if is_cancelled(n) and is_shipped(n))
    return Counter((f"order-{n}", total(n)) for n in both)


async def sell(log: Log, numbers: range) -> None:
    for sku in PRODUCTS:
        await Fulfillment(log).receive("delivery-1", sku, RECEIVED)
    for number in numbers:
        await Carts(log).check_out(f"cart-{number}", f"customer-{number % 9}", lines_of(number))
        await Orders(log).place(f"order-{number}", f"c{number % 9}@customers.example", total(number))


async def cancel(log: Log, numbers: range) -> None:
    for number in filter(is_cancelled, numbers):
        await Orders(log).cancel(f"order-{number}", lines_of(number))


async def ship(log: Log, numbers: range) -> None:
    for number in filter(is_shipped, numbers):
        await Fulfillment(log).ship(f"order-{number}", total(number))


def rows(shop: Shell, query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(shop.folder / "shop" / "shop.db", timeout=30)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def refunds(shop: Shell) -> Counter[tuple[str, float]]:
    return Counter((event["data"]["order_id"], event["data"]["amount"]) for event in shop.tail("refunds"))


def url(shop: Shell) -> str:
    return f"sqlite:{shop.folder}/.headrace/log.db"


async def test_both_orders_in_which_cancelling_and_shipping_can_arrive_lead_to_one_refund_each(
    storefront: Shell,
) -> None:
    first, second = range(ORDERS // 2), range(ORDERS // 2, ORDERS)
    async with connect(url(storefront)) as log:
        await sell(log, range(ORDERS))
        await cancel(log, first)
        await ship(log, second)
    storefront.run("run", "--until-idle")
    assert refunds(storefront) == Counter()
    async with connect(url(storefront)) as log:
        await ship(log, first)
        await cancel(log, second)
    storefront.run("run", "--until-idle")
    assert refunds(storefront) == expected_refunds()
    assert dict(rows(storefront, "SELECT sku, left FROM stock")) == expected_stock()


# -- kill -9 ---------------------------------------------------------------


def wait_for_handled(shop: Shell, runtime: subprocess.Popen[str], count: int) -> None:
    """Wait until that many carts are in the shop's database, as long as the runtime lives."""
    deadline = time.monotonic() + 90
    while handled(shop) < count:
        assert time.monotonic() < deadline, f"the stream stands still at {handled(shop)}, before {count}"
        with pytest.raises(subprocess.TimeoutExpired):
            runtime.wait(0.01)


def handled(shop: Shell) -> int:
    try:
        ((count,),) = rows(shop, CARTS)
    except sqlite3.OperationalError:  # no table yet
        return 0
    assert isinstance(count, int)
    return count


def in_the_log(shop: Shell) -> int:
    carts = [row for row in shop.json("lag") if (row["function"], row["topic"]) == ("count_stock", "carts")]
    return sum(row["end"] - row["lag"] for row in carts)


@pytest.mark.parametrize("seed", [1, 2])
async def test_stock_and_refunds_come_out_exactly_over_kill_nine_of_workers_and_runtimes(
    storefront: Shell, seed: int
) -> None:
    dice = random.Random(seed)
    for share in range(0, ORDERS, SHARE):
        numbers = range(share, share + SHARE)
        async with connect(url(storefront)) as log:
            await sell(log, numbers)
            await ship(log, numbers)
            await cancel(log, numbers)
        kill_in_the_middle(storefront, share, dice, hold=share > ORDERS // 2)
    assert handled(storefront) > in_the_log(storefront), "the last kill came after a change and before its settlement"
    storefront.run("run", "--until-idle")
    assert dict(rows(storefront, "SELECT sku, left FROM stock")) == expected_stock()
    assert refunds(storefront) == expected_refunds()
    assert {row["lag"] for row in storefront.json("lag")} == {0}


def kill_in_the_middle(shop: Shell, before: int, dice: random.Random, *, hold: bool) -> None:
    """A run that loses a worker, and then its life; with `hold`, while a worker has committed and not said so.

    There are fewer of these than attempts: whichever event is charged each time, none is exhausted.
    """
    first, second = sorted(dice.sample(range(1, SHARE - 10), 2))
    gate = shop.folder / "shop" / "hold"
    if hold:
        gate.write_text(str(before + second))
    with shop.start("run", stderr=subprocess.DEVNULL) as runtime:
        wait_for_handled(shop, runtime, before + first)
        (zygote,) = children_of(runtime.pid)
        if workers := children_of(zygote):
            os.kill(dice.choice(workers), signal.SIGKILL)
        wait_for_handled(shop, runtime, before + second)
        runtime.send_signal(signal.SIGKILL)
    gate.unlink(missing_ok=True)


# -- the producers as commands ---------------------------------------------------------------


def say(shop: Shell, producer: str, *words: str) -> None:
    command = [sys.executable, "-m", f"producers.{producer}", *words]
    done = subprocess.run(command, cwd=shop.folder, env=shop.env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_producer_says_twice_counts_once(storefront: Shell, mailbox: Mailbox) -> None:
    for _ in range(2):
        say(storefront, "fulfillment", "receive", "delivery-1", "tea", "6")
        say(storefront, "carts", "cart-1", "anna", "tea=2")
        say(storefront, "orders", "place", "order-1", "anna@customers.example", "9.5")
        say(storefront, "fulfillment", "ship", "order-1", "9.5")
        say(storefront, "orders", "cancel", "order-1", "tea=2")
    storefront.run("run", "--until-idle")
    assert rows(storefront, "SELECT sku, left FROM stock") == [("tea", 6)]
    ids = Counter(event["id"] for event in storefront.tail("refunds"))
    assert list(ids.values()) == [2], "handled twice, published twice: under one id, by which readers drop repeats"
    assert mailbox.delivered == ["anna@customers.example"] * 2
