"""The demo from start to end."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import json_option
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.cli.demo.mailserver import MailServer
    from headrace.runtime.ports import Store

CUSTOMERS = 7
APP = "storefront"


@dataclass(frozen=True, slots=True)
class Tally:
    """What went in and what came out."""

    orders: int
    broken: int
    mails_delivered: int
    mails_refused: int
    emails_sent: int
    dead_letters: int
    log: str

    @property
    def right(self) -> bool:
        """Whether every good order led to one mail and one `EmailSent`, and every broken one to a dead letter."""
        good = self.orders - self.broken
        return self.emails_sent == self.mails_delivered == good and self.dead_letters == self.broken


@click.command("demo")
@click.option("--orders", type=click.IntRange(min=1), default=20, show_default=True, help="How many orders to place.")
@json_option
def command(orders: int, as_json: bool) -> int:
    """Run the storefront example: orders in, confirmation e-mails out through a real SMTP server.

    The mail server is busy now and then, and one order is broken. A fresh log is made for it and kept, so that you can
    look at what happened.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-demo-"))
    tally = asyncio.run(_demo(orders, folder, quiet=as_json))
    print_json({**asdict(tally), "right": tally.right}) if as_json else _print(tally)
    return 0 if tally.right else 1


async def _demo(orders: int, folder: Path, *, quiet: bool) -> Tally:
    from headrace.cli.demo.mailserver import MailServer  # noqa: PLC0415
    from headrace.cli.demo.story import Story  # noqa: PLC0415
    from headrace.compose import engine_of, open_store, workshop  # noqa: PLC0415
    from headrace.runtime.settings import Settings  # noqa: PLC0415

    mail = MailServer()
    os.environ["SMTP_URL"] = await mail.start()
    url = f"sqlite:{folder / 'log.db'}"
    settings = Settings(app=APP, broker=url, target=str(storefront()))
    try:
        async with workshop(settings, folder) as shop, open_store(settings, folder) as store:
            engine = engine_of(shop, store, [Story(orders, quiet=quiet)], watched=True)
            await engine.open()
            if not quiet:
                click.echo(f"confirm_order handles the topic 'orders'; mail goes to {os.environ['SMTP_URL']}\n")
            await _place(url, orders)
            await engine.until_idle()
            await engine.close(5.0)
            return await _tally(store, mail, orders, url)
    finally:
        await mail.stop()


async def _place(url: str, orders: int) -> None:
    """Place the orders; the middle one is broken."""
    from headrace.producer import Item, connect  # noqa: PLC0415

    async with connect(url, source="/storefront/checkout") as log:
        items = [
            Item(_order(n, broken=n == _broken(orders)), key=_customer(n), type="OrderPlaced") for n in range(orders)
        ]
        for start in range(0, orders, 500):
            await log.emit_many("orders", items[start : start + 500])


def _order(number: int, *, broken: bool) -> dict[str, Any]:
    total: object = "a lot" if broken else round(9.5 + number * 3.25, 2)
    return {"order_id": f"order-{number + 1:03}", "email": f"{_customer(number)}@customers.example", "total": total}


def _customer(number: int) -> str:
    return f"customer-{number % CUSTOMERS}"


def _broken(orders: int) -> int | None:
    return orders // 2 if orders > 1 else None


async def _tally(store: Store, mail: MailServer, orders: int, url: str) -> Tally:
    topics = await store.topics()

    def events(topic: str) -> int:
        return sum(bounds.end - bounds.start for bounds in topics[topic].bounds)

    return Tally(
        orders=orders,
        broken=int(_broken(orders) is not None),
        mails_delivered=len(mail.delivered),
        mails_refused=mail.refused,
        emails_sent=events("emails"),
        dead_letters=events(f"{APP}.confirm_order.dlt"),
        log=url,
    )


def _print(tally: Tally) -> None:
    click.echo()
    click.echo(f"  {tally.orders:>4} orders placed on 'orders'")
    click.echo(f"  {tally.mails_delivered:>4} confirmation e-mails delivered by SMTP")
    click.echo(f"  {tally.mails_refused:>4} refused by the busy mail server (450), and tried again")
    click.echo(f"  {tally.emails_sent:>4} EmailSent events on 'emails', in the same transactions as the progress")
    click.echo(f"  {tally.dead_letters:>4} broken order set aside on '{APP}.confirm_order.dlt'")
    click.echo()
    click.echo("Look at the log it leaves behind:")
    click.echo(f"  headrace tail emails --no-follow --broker {tally.log}")
    click.echo(f"  headrace tail {APP}.confirm_order.dlt --no-follow --json --broker {tally.log}")
    if not tally.right:
        click.echo("\nThat is not what should have come out: please report it.", err=True)


def storefront() -> Path:
    """The example's folder: in the package if it was installed, beside it in a checkout."""
    packaged = Path(str(files("headrace"))) / "examples" / "storefront"
    return packaged if packaged.exists() else Path(str(files("headrace"))).parent / "examples" / "storefront"
