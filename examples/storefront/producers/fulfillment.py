"""Fulfillment: goods come in, parcels go out.

python -m producers.fulfillment receive DELIVERY SKU QUANTITY
python -m producers.fulfillment ship ORDER TOTAL
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from events import GoodsReceived, OrderShipped

from headrace import Log, Position, connect


@dataclass(frozen=True)
class Fulfillment:
    """Emits to `fulfillment`, keyed by product or by order."""

    log: Log

    async def receive(self, delivery_id: str, sku: str, quantity: int) -> Position:
        """Goods came in."""
        event = GoodsReceived(sku=sku, quantity=quantity)
        return await self.log.emit("fulfillment", event, key=sku, id=f"{delivery_id}-{sku}-received")

    async def ship(self, order_id: str, total: float) -> Position:
        """A parcel left, and the customer's card was charged."""
        event = OrderShipped(order_id=order_id, total=total)
        return await self.log.emit("fulfillment", event, key=order_id, id=f"{order_id}-shipped")


async def main(what: str, number: str, *words: str) -> None:
    """What the command line says."""
    async with connect(source="/storefront/fulfillment") as log:
        if what == "receive":
            sku, quantity = words
            print(await Fulfillment(log).receive(number, sku, int(quantity)))
        else:
            (total,) = words
            print(await Fulfillment(log).ship(number, float(total)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
