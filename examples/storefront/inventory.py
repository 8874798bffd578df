"""How many of each product may still be sold."""

from __future__ import annotations

from collections.abc import Iterator
from sqlite3 import Connection

from events import CartCheckedOut, GoodsReceived, OrderCancelled, StockLow
from shop import once

from headrace import Context, Retry, Sandbox, function

LOW = 5

StockEvent = CartCheckedOut | OrderCancelled | GoodsReceived


@function(
    "carts",
    "orders",
    "fulfillment",
    emits={"alerts": StockLow},
    retry=Retry(attempts=5, delay=0.5),
    workers=(0, 2),
    sandbox=Sandbox(files={"shop": "rw"}),
)
def count_stock(event: StockEvent, ctx: Context) -> None:
    """Keep the stock of each product. Tells when one runs low."""

    def change(rows: Connection) -> list[StockLow]:
        changed = [(sku, by, add(rows, sku, by)) for sku, by in changes(event)]
        return [StockLow(sku=sku, left=left) for sku, by, left in changed if left < LOW <= left - by]

    for alert in once("count_stock", ctx.event.id, StockLow, change):
        ctx.emit("alerts", alert, key=alert.sku)


def changes(event: StockEvent) -> Iterator[tuple[str, int]]:
    """By how much the stock of which product changes."""
    match event:
        case GoodsReceived(sku=sku, quantity=quantity):
            yield sku, quantity
        case CartCheckedOut(lines=lines):
            yield from ((line.sku, -line.quantity) for line in lines)
        case OrderCancelled(lines=lines):
            yield from ((line.sku, line.quantity) for line in lines)


def add(rows: Connection, sku: str, by: int) -> int:
    """Add to the stock of a product; how many are left. Below zero: sold before they came."""
    rows.execute(
        "INSERT INTO stock VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET left = left + excluded.left", (sku, by)
    )
    left: int = rows.execute("SELECT left FROM stock WHERE sku = ?", (sku,)).fetchone()[0]
    return left
