"""Orders: they are placed, and some are cancelled.

python -m producers.orders place ORDER EMAIL TOTAL
python -m producers.orders cancel ORDER SKU=QUANTITY…
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from events import Line, OrderCancelled, OrderPlaced

from headrace import Log, Position, connect
from producers.carts import lines_of


@dataclass(frozen=True)
class Orders:
    """Emits to `orders`, keyed by order: that it was placed comes before that it was cancelled."""

    log: Log

    async def place(self, order_id: str, email: str, total: float) -> Position:
        """An order was placed."""
        event = OrderPlaced(order_id=order_id, email=email, total=total)
        return await self.log.emit("orders", event, key=order_id, id=f"{order_id}-placed")

    async def cancel(self, order_id: str, lines: list[Line]) -> Position:
        """An order was cancelled."""
        event = OrderCancelled(order_id=order_id, lines=lines)
        return await self.log.emit("orders", event, key=order_id, id=f"{order_id}-cancelled")


async def main(what: str, order_id: str, *words: str) -> None:
    """What the command line says."""
    async with connect(source="/storefront/orders") as log:
        if what == "place":
            email, total = words
            print(await Orders(log).place(order_id, email, float(total)))
        else:
            print(await Orders(log).cancel(order_id, lines_of(list(words))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
