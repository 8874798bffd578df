"""The handlers are plain functions: called with an event and a context, without a log or a worker."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from confirmation import confirmation
from events import (
    CartCheckedOut,
    GoodsReceived,
    Line,
    OrderCancelled,
    OrderPlaced,
    OrderShipped,
    RefundIssued,
    StockLow,
)
from inventory import count_stock
from shop import once, transaction
from support import refund

from headrace.testing import RecordingContext, context


@pytest.fixture(autouse=True)
def _a_shop_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)


def received(sku: str, quantity: int) -> RecordingContext[None]:
    ctx = context(count_stock, id=f"{sku}-{quantity}", key=sku)
    count_stock(GoodsReceived(sku=sku, quantity=quantity), ctx)
    return ctx


def sold(quantity: int, *, id: str = "cart") -> RecordingContext[None]:
    ctx = context(count_stock, id=id, key="anna")
    count_stock(CartCheckedOut(cart_id="c", customer="anna", lines=[Line(sku="tea", quantity=quantity)]), ctx)
    return ctx


def stock() -> dict[str, int]:
    with transaction() as rows:
        return dict(rows.execute("SELECT sku, left FROM stock"))


def test_what_comes_in_is_added_and_what_is_sold_is_taken_off() -> None:
    received("tea", 20)
    received("mug", 3)
    sold(2)
    assert stock() == {"tea": 18, "mug": 3}


def test_what_a_cancelled_order_had_set_aside_may_be_sold_again() -> None:
    received("tea", 20)
    sold(2)
    count_stock(OrderCancelled(order_id="o", lines=[Line(sku="tea", quantity=2)]), context(count_stock, id="cancel"))
    assert stock() == {"tea": 20}


def test_a_product_that_runs_low_is_told_once_under_its_own_key() -> None:
    received("tea", 6)
    (alert,) = sold(2, id="first").emitted
    assert (alert.topic, alert.key, alert.value) == ("alerts", b"tea", b'{"sku":"tea","left":4}')
    assert sold(1, id="second").emitted == ()


def test_a_repeat_changes_nothing_and_emits_what_the_first_time_emitted() -> None:
    received("tea", 6)
    first, again = sold(2), sold(2)
    assert stock() == {"tea": 4}
    assert [emit.id for emit in first.emitted] == [emit.id for emit in again.emitted] != []


def test_what_fails_in_the_middle_leaves_nothing_behind() -> None:
    received("tea", 6)

    def half(rows: sqlite3.Connection) -> list[StockLow]:
        rows.execute("UPDATE stock SET left = 0")
        raise OSError("the power went")

    with pytest.raises(OSError, match="power"):
        once("count_stock", "e-1", StockLow, half)
    assert stock() == {"tea": 6}


CANCELLED = OrderCancelled(order_id="o-1", lines=[])
SHIPPED = OrderShipped(order_id="o-1", total=9.5)


@pytest.mark.parametrize("order", [[CANCELLED, SHIPPED], [SHIPPED, CANCELLED]], ids=["cancel-ship", "ship-cancel"])
def test_an_order_both_shipped_and_cancelled_is_refunded_once_whichever_is_heard_of_first(
    order: list[OrderCancelled | OrderShipped],
) -> None:
    first, second = (refund(event, context(refund, id=type(event).__name__)) for event in order)
    assert (first, second) == ([], [RefundIssued(order_id="o-1", amount=9.5)])
    assert refund(CANCELLED, context(refund, id="cancelled in another tab too")) == []


def test_an_order_that_was_only_shipped_or_only_cancelled_is_not_refunded() -> None:
    assert refund(SHIPPED, context(refund, id="1")) == []
    assert refund(OrderCancelled(order_id="o-2", lines=[]), context(refund, id="2")) == []


def test_an_email_sent_twice_can_be_told_from_two_emails() -> None:
    order = OrderPlaced(order_id="o-1", email="anna@customers.example", total=9.5)
    assert confirmation(order, "e-1")["Message-ID"] == confirmation(order, "e-1")["Message-ID"]
    assert confirmation(order, "e-1")["Message-ID"] != confirmation(order, "e-2")["Message-ID"]
