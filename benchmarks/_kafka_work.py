"""What one case is given, and the order events all of them handle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pydantic import BaseModel

CUSTOMERS = 5_000
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Work:
    """Read `events` events of `topic` from the beginning as `group`, and write to `out` if the case emits."""

    bootstrap: str
    topic: str
    out: str
    group: str
    events: int

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Work:
        return cls(**json.loads(text))


class Skipped(Exception):
    """The case cannot be measured here; the text says why."""


class Failed(Exception):
    """The case was measured and went wrong; the text is the end of what it said."""


class Item(BaseModel):
    sku: str
    quantity: int
    price: float


class OrderPlaced(BaseModel):
    order_id: str
    customer: str
    email: str
    total: float
    items: list[Item]


class Confirmed(BaseModel):
    order_id: str
    to: str


def document(number: int) -> dict[str, object]:
    customer = f"customer-{number % CUSTOMERS}"
    return {
        "order_id": f"order-{number:08}",
        "customer": customer,
        "email": f"{customer}@example.com",
        "total": round(number % 977 / 7, 2),
        "items": [
            {"sku": f"sku-{number % 97}", "quantity": 1 + number % 5, "price": 9.95},
            {"sku": "sku-100", "quantity": 2, "price": 4.5},
        ],
    }


def key(number: int) -> bytes:
    return b"customer-%d" % (number % CUSTOMERS)


def value(number: int) -> bytes:
    return json.dumps(document(number), separators=(",", ":")).encode()
