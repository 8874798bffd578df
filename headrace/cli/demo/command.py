"""The demo from start to end."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.demo.traffic import RECEIVED_MORE, broken, is_returned, place
from headrace.cli.options import json_option
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.cli.demo.mailserver import MailServer
    from headrace.runtime.ports import Store

APP = "storefront"
_KEPT_BACK = shutil.ignore_patterns("shop.db*", ".headrace", "__pycache__", "tests")


@dataclass(frozen=True, slots=True)
class Tally:
    """What went in and what came out."""

    orders: int
    broken: int
    mails_delivered: int
    mails_refused: int
    emails_sent: int
    dead_letters: int
    refunds_due: int
    refunds: int
    tea_due: int
    tea_left: int
    log: str
    shop: str

    @property
    def right(self) -> bool:
        """Whether all of it came out as it must."""
        good = self.orders - self.broken
        mails = self.emails_sent == self.mails_delivered == good and self.dead_letters == self.broken
        return mails and self.refunds == self.refunds_due and self.tea_left == self.tea_due


@click.command("demo")
@click.option("--orders", type=click.IntRange(min=1), default=20, show_default=True, help="How many orders to place.")
@json_option
def command(orders: int, as_json: bool) -> int:
    """Run the storefront example: orders in, confirmation e-mails out through a real SMTP server.

    The mail server is busy now and then, one order is broken, and some are shipped and cancelled. A copy of the example
    with a fresh log is made for it and kept, so that you can look at what happened.
    """
    from headrace.cli.logs import configure_logs  # noqa: PLC0415
    from headrace.sandbox.temporary import temporary_folder  # noqa: PLC0415

    configure_logs(as_json=as_json)
    folder = temporary_folder("headrace-demo-")
    tally = asyncio.run(_demo(orders, folder, quiet=as_json))
    print_json({**asdict(tally), "right": tally.right}) if as_json else _print(tally)
    return 0 if tally.right else 1


async def _demo(orders: int, folder: Path, *, quiet: bool) -> Tally:
    from headrace.cli.demo.mailserver import MailServer  # noqa: PLC0415
    from headrace.cli.demo.story import Story  # noqa: PLC0415
    from headrace.compose import engine_of, open_store, workshop  # noqa: PLC0415
    from headrace.runtime.settings import Settings  # noqa: PLC0415

    shop_folder = shutil.copytree(storefront(), folder / "storefront", ignore=_KEPT_BACK)
    mail = MailServer()
    os.environ["SMTP_URL"] = await mail.start()
    url = f"sqlite:{shop_folder / '.headrace' / 'log.db'}"
    settings = Settings(app=APP, broker=url, target=str(shop_folder))
    try:
        async with workshop(settings, folder) as shop, open_store(settings, folder) as store:
            engine = engine_of(shop, store, [Story(orders, quiet=quiet)], watched=True)
            await engine.open()
            if not quiet:
                click.echo(f"confirm_order, count_stock and refund run; mail goes to {os.environ['SMTP_URL']}\n")
            await place(url, orders)
            await engine.until_idle()
            await engine.close(5.0)
            return await _tally(store, mail, orders, shop_folder)
    finally:
        await mail.stop()


async def _tally(store: Store, mail: MailServer, orders: int, shop: Path) -> Tally:
    topics = await store.topics()

    def events(topic: str) -> int:
        return sum(bounds.end - bounds.start for bounds in topics[topic].bounds)

    return Tally(
        orders=orders,
        broken=int(broken(orders) is not None),
        mails_delivered=len(mail.delivered),
        mails_refused=mail.refused,
        emails_sent=events("emails"),
        dead_letters=events(f"{APP}.confirm_order.dlt"),
        refunds_due=sum(map(is_returned, range(orders))),
        refunds=events("refunds"),
        tea_due=RECEIVED_MORE + sum(map(is_returned, range(orders))),
        tea_left=_tea_left(shop / "shop" / "shop.db"),
        log=f"sqlite:{shop / '.headrace' / 'log.db'}",
        shop=str(shop),
    )


def _tea_left(database: Path) -> int:
    with closing(sqlite3.connect(database)) as rows:
        (left,) = rows.execute("SELECT left FROM stock WHERE sku = 'tea'").fetchone()
    return int(left)


def _print(tally: Tally) -> None:
    click.echo()
    click.echo(f"  {tally.orders:>4} orders placed on 'orders'")
    click.echo(f"  {tally.mails_delivered:>4} confirmation e-mails delivered by SMTP")
    click.echo(f"  {tally.mails_refused:>4} refused by the busy mail server (450), and tried again")
    click.echo(f"  {tally.emails_sent:>4} EmailSent events on 'emails', in the same transactions as the progress")
    click.echo(f"  {tally.dead_letters:>4} broken order set aside on '{APP}.confirm_order.dlt'")
    click.echo(f"  {tally.refunds:>4} orders refunded: they were both shipped and cancelled")
    click.echo(f"  {tally.tea_left:>4} packets of tea left in the shop's own database")
    click.echo()
    click.echo("Look at what it leaves behind, the functions' code among it:")
    click.echo(f"  cd {tally.shop}")
    click.echo("  headrace tail emails --no-follow")
    click.echo(f"  headrace tail {APP}.confirm_order.dlt --no-follow --json")
    click.echo("  headrace functions")
    if not tally.right:
        click.echo("\nThat is not what should have come out: please report it.", err=True)


def storefront() -> Path:
    """The example's folder: in the package if it was installed, beside it in a checkout."""
    packaged = Path(str(files("headrace"))) / "examples" / "storefront"
    return packaged if packaged.exists() else Path(str(files("headrace"))).parent / "examples" / "storefront"
