"""A mailroom for tests of the test kit: two functions that confirm orders, and mailboxes as setups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel

from headrace import Context, Reject, Retry, RetryAfter, function
from headrace.testing import TestApp


class Order(BaseModel):
    id: str
    total: float = 1.0


class Mail(BaseModel):
    order: str


class Seen(BaseModel):
    order: str


steadily = Retry(attempts=3, delay=60.0, factor=2.0, max_delay=600.0, jitter="none")


@function("orders", emits={"emails": Mail, "audit": Seen}, retry=steadily)
def confirm(order: Order, ctx: Context) -> Mail:
    ctx.log.info("seen", order=order.id)
    ctx.emit("audit", Seen(order=order.id), key=None, headers={"shop": "north"})
    if order.id.startswith("flaky") and ctx.attempt < 3:
        raise ConnectionError("no server")
    if order.id.startswith("broken"):
        raise ValueError("never")
    if order.id.startswith("stolen"):
        raise Reject("the card is stolen")
    if order.id.startswith("later") and ctx.attempt == 1:
        raise RetryAfter(3600)
    return Mail(order=order.id)


@function("emails", emits="archive")
async def archive(mail: Mail) -> Mail:
    await asyncio.sleep(0)
    return mail


def emit(app: TestApp, *ids: str) -> None:
    """Orders with these ids; the last character is the key."""
    for id_ in ids:
        app.emit("orders", Order(id=id_), key=id_[-1])


def orders_of(app: TestApp, topic: str = "emails") -> list[str]:
    """Of which orders there is mail."""
    return [event.model(Mail).order for event in app.topic(topic)]


class Mailbox:
    """What a setup opens and closes; each that was made is in `mailboxes`."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_open = True


mailboxes: list[Mailbox] = []


def mailbox() -> Iterator[Mailbox]:
    mailboxes.append(made := Mailbox())
    yield made
    made.is_open = False


async def later_mailbox() -> AsyncIterator[Mailbox]:
    mailboxes.append(made := Mailbox())
    await asyncio.sleep(0)
    yield made
    await asyncio.sleep(0)
    made.is_open = False
