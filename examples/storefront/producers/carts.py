"""Carts: customers check out.

python -m producers.carts CART CUSTOMER SKU=QUANTITY…
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from events import CartCheckedOut, Line

from headrace import Log, Position, connect


@dataclass(frozen=True)
class Carts:
    """Emits to `carts`, keyed by customer."""

    log: Log

    async def check_out(self, cart_id: str, customer: str, lines: list[Line]) -> Position:
        """A customer checked out. The id is made from what happened: said twice, it is the same event."""
        event = CartCheckedOut(cart_id=cart_id, customer=customer, lines=lines)
        return await self.log.emit("carts", event, key=customer, id=f"{cart_id}-checked-out")


def lines_of(words: list[str]) -> list[Line]:
    """`tea=2 mug=1` as lines."""
    pairs = [word.partition("=") for word in words]
    return [Line(sku=sku, quantity=int(quantity)) for sku, _, quantity in pairs]


async def main(cart_id: str, customer: str, *words: str) -> None:
    """What the command line says."""
    async with connect(source="/storefront/carts") as log:
        print(await Carts(log).check_out(cart_id, customer, lines_of(list(words))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
