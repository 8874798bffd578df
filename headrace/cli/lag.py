"""`headrace lag`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headrace.runtime.ports import Lag
    from headrace.runtime.settings import Settings

_COLUMNS = ("function", "topic", "partition", "committed", "end", "lag", "lost")


@click.command("lag")
@broker_option
@app_option
@json_option
def command(broker: str | None, app: str | None, as_json: bool) -> int:
    """How many events each function of this app still has to handle, by partition."""
    rows = asyncio.run(_lag(settings_from(broker=broker, app=app)))
    if as_json:
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, ([row[column] for column in _COLUMNS] for row in rows))
    else:
        say("no function of this app has run on this log yet")
    return 0


async def _lag(settings: Settings) -> list[dict[str, Any]]:
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    prefix = f"{app_of(settings, Path.cwd())}."
    async with shared_store(settings, Path.cwd()) as store:
        lags = await store.lag(prefix)
    return [{"function": lag.group.removeprefix(prefix), **document_of(lag)} for lag in sorted(lags)]


def document_of(lag: Lag) -> dict[str, Any]:
    """How far a group is on a partition, as `lag --json` prints it. What retention took is no lag, but may be lost."""
    from headrace.runtime.standing import lag_of  # noqa: PLC0415

    return {
        "topic": lag.partition[0],
        "partition": lag.partition[1],
        "committed": lag.committed,
        "end": lag.end,
        "lag": lag_of(lag),
        "lost": lag.lost,
    }
