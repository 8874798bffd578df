"""`headrace dlq` and its commands."""

from __future__ import annotations

import click

from headrace.cli.dlq import listing, redriving, showing


@click.group("dlq")
def command() -> None:
    """Dead letters: what failed for good, and why."""


for one in (listing.command, showing.command, redriving.command):
    command.add_command(one)
