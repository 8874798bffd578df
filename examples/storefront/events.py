"""What happens in the shop. Each class is one type of event; its name is the event's type."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Line(BaseModel):
    """So many of one product."""

    sku: str
    quantity: int = Field(gt=0)


# -- from the shop's own systems --------------------------------------------------------------------------------------


class CartCheckedOut(BaseModel):
    """On `carts`, key: the customer. What is in the cart is set aside for them."""

    cart_id: str
    customer: str
    lines: list[Line]


class OrderPlaced(BaseModel):
    """On `orders`, key: the order."""

    order_id: str
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    total: float = Field(gt=0)


class OrderCancelled(BaseModel):
    """On `orders`, key: the order. What was set aside may be sold again."""

    order_id: str
    lines: list[Line]


class GoodsReceived(BaseModel):
    """On `fulfillment`, key: the product."""

    sku: str
    quantity: int = Field(gt=0)


class OrderShipped(BaseModel):
    """On `fulfillment`, key: the order. The customer's card is charged `total` when the parcel leaves."""

    order_id: str
    total: float = Field(gt=0)


# -- from the functions -----------------------------------------------------------------------------------------------


class EmailSent(BaseModel):
    """On `emails`: the customer was told."""

    order_id: str
    to: str


class StockLow(BaseModel):
    """On `alerts`, key: the product. Fewer are left than the shop wants to have."""

    sku: str
    left: int


class RefundIssued(BaseModel):
    """On `refunds`, key: the order."""

    order_id: str
    amount: float
