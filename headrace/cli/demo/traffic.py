"""What happens in the demo's shop: goods come in, carts are checked out, orders placed, some shipped and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.producer import Item

CUSTOMERS = 7
RECEIVED_MORE = 2  # packets of tea beyond what is sold
_AT_ONCE = 500


async def place(url: str, orders: int) -> None:
    """All of it, as the shop's own systems would say it. The middle order is broken."""
    from headrace.producer import connect  # noqa: PLC0415

    async with connect(url, source="/storefront") as log:
        for topic, items in _events(orders).items():
            for start in range(0, len(items), _AT_ONCE):
                await log.emit_many(topic, items[start : start + _AT_ONCE])


def broken(orders: int) -> int | None:
    """Which order is broken, if there are enough for that."""
    return orders // 2 if orders > 1 else None


def is_returned(number: int) -> bool:
    """Whether an order is shipped and also cancelled."""
    return number % 7 == 4


def _events(orders: int) -> dict[str, list[Item]]:
    numbers = range(orders)
    returned = list(filter(is_returned, numbers))
    goods = _item("GoodsReceived", "tea", sku="tea", quantity=orders + RECEIVED_MORE)
    return {
        "fulfillment": [goods, *map(_shipped, returned)],
        "carts": list(map(_checked_out, numbers)),
        "orders": [*(_placed(n, is_broken=n == broken(orders)) for n in numbers), *map(_cancelled, returned)],
    }


def _checked_out(number: int) -> Item:
    customer = _customer(number)
    return _item("CartCheckedOut", customer, cart_id=f"cart-{number + 1:03}", customer=customer, lines=_LINES)


def _placed(number: int, *, is_broken: bool) -> Item:
    total: object = "a lot" if is_broken else _total(number)
    email = f"{_customer(number)}@customers.example"
    return _item("OrderPlaced", _order(number), order_id=_order(number), email=email, total=total)


def _cancelled(number: int) -> Item:
    return _item("OrderCancelled", _order(number), order_id=_order(number), lines=_LINES)


def _shipped(number: int) -> Item:
    return _item("OrderShipped", _order(number), order_id=_order(number), total=_total(number))


_LINES = [{"sku": "tea", "quantity": 1}]


def _item(type_: str, key: str, **data: Any) -> Item:
    from headrace.producer import Item  # noqa: PLC0415

    return Item(data, key=key, type=type_)


def _order(number: int) -> str:
    return f"order-{number + 1:03}"


def _customer(number: int) -> str:
    return f"customer-{number % CUSTOMERS}"


def _total(number: int) -> float:
    return round(9.5 + number * 3.25, 2)
