"""Customer support: who was charged for an order and cancelled it gets the money back."""

from __future__ import annotations

from sqlite3 import Connection

from events import OrderCancelled, OrderShipped, RefundIssued
from shop import once

from headrace import Context, Retry, Sandbox, function


@function(
    "orders",
    "fulfillment",
    emits={"refunds": RefundIssued},
    retry=Retry(attempts=5, delay=0.5),
    workers=(0, 2),
    sandbox=Sandbox(files={"shop": "rw"}),
)
def refund(event: OrderCancelled | OrderShipped, ctx: Context) -> list[RefundIssued]:
    """Refund an order once it is known to be both shipped and cancelled, whichever is heard of first."""

    def change(rows: Connection) -> list[RefundIssued]:
        note(rows, event)
        return due(rows, event.order_id)

    return once("refund", ctx.event.id, RefundIssued, change)


def note(rows: Connection, event: OrderCancelled | OrderShipped) -> None:
    """Write down what is known of the order now."""
    rows.execute("INSERT OR IGNORE INTO parcel (order_id) VALUES (?)", (event.order_id,))
    match event:
        case OrderCancelled():
            rows.execute("UPDATE parcel SET cancelled = 1 WHERE order_id = ?", (event.order_id,))
        case OrderShipped(total=total):
            rows.execute("UPDATE parcel SET charged = ? WHERE order_id = ?", (total, event.order_id))


def due(rows: Connection, order_id: str) -> list[RefundIssued]:
    """The refund of an order if both halves are known, and it has not been made yet."""
    paid_back = rows.execute(
        "UPDATE parcel SET refunded = 1 WHERE order_id = ? AND charged IS NOT NULL AND cancelled AND NOT refunded "
        "RETURNING charged",
        (order_id,),
    ).fetchall()
    return [RefundIssued(order_id=order_id, amount=charged) for (charged,) in paid_back]
