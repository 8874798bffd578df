"""`headrace reset`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headrace.cli.known import Known
    from headrace.runtime.ports import Bounds, Lag, Partition, Store
    from headrace.runtime.settings import Settings

_COLUMNS = ("topic", "partition", "from", "to", "repeated", "skipped")


@click.command("reset")
@click.argument("function")
@click.option("--to", "where", required=True, metavar="WHERE", help="earliest, latest, an offset or a time (ISO 8601).")
@click.option("--topic", metavar="T", help="Only this topic.")
@click.option("--partition", "number", type=click.IntRange(min=0), metavar="N", help="Only partitions of this number.")
@click.option("--yes", is_flag=True, help="Do it; without, it is only shown.")
@broker_option
@app_option
@json_option
def command(function: str, where: str, topic: str | None, number: int | None, yes: bool, **shared: Any) -> int:
    """Have FUNCTION go on from WHERE. Shows what would be repeated or skipped; --yes does it, if nothing serves it."""
    settings = settings_from(broker=shared["broker"], app=shared["app"])
    found = asyncio.run(_reset(settings, function, where, topic, number, do=yes))
    if shared["as_json"]:
        print_json(found)
        return 0
    print_table(_COLUMNS, ([_word(row[column]) for column in _COLUMNS] for row in found["partitions"]))
    if not found["moved"]:
        say("nothing was moved: this is what --yes would do")
    return 0


async def _reset(
    settings: Settings, function: str, where: str, topic: str | None, number: int | None, *, do: bool
) -> dict[str, Any]:
    from headrace.cli.known import known  # noqa: PLC0415
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.functions.names import group_of  # noqa: PLC0415

    async with shared_store(settings, Path.cwd()) as store:
        its = await known(settings, store, function)
        group = group_of(its.app, function)
        bounds = await _chosen(store, its, topic, number)
        lags = {lag.partition: lag for lag in await store.lag(group) if lag.group == group}
        rows = [await _row(store, one, bounds[one], lags.get(one), where) for one in sorted(bounds)]
        if do:
            await store.move(group, {(row["topic"], row["partition"]): row["to"] for row in rows})
        elif members := (await store.served([group])).get(group):
            say(f"headrace: {function} is served by {', '.join(members)}: stop that before --yes")
    return {"function": function, "group": group, "moved": do, "partitions": rows}


async def _chosen(store: Store, its: Known, topic: str | None, number: int | None) -> Mapping[Partition, Bounds]:
    """The partitions to move. Raises `SettingsError` if there is none."""
    from headrace.functions.errors import SettingsError  # noqa: PLC0415
    from headrace.functions.names import meant  # noqa: PLC0415

    wanted = its.topics if topic is None else [topic]
    if topic is not None and topic not in its.topics:
        near, known = meant(topic, its.topics), ", ".join(its.topics)
        raise SettingsError(f"{its.name} does not subscribe to {topic!r}{near}; its topics are: {known}")
    infos = await store.topics(wanted)
    bounds = {(name, n): one for name, info in infos.items() for n, one in enumerate(info.bounds)}
    chosen = {one: bound for one, bound in bounds.items() if number is None or one[1] == number}
    if not chosen:
        what = f"partition {number} of {', '.join(wanted)}" if infos else f"topic {', '.join(wanted)}"
        raise SettingsError(f"there is no {what} on this log")
    return chosen


async def _row(store: Store, partition: Partition, bounds: Bounds, lag: Lag | None, where: str) -> dict[str, Any]:
    from headrace.cli.where import offset_at  # noqa: PLC0415

    to = await offset_at(store, partition, bounds, where, hint="--to")
    repeated, skipped = (0, to - bounds.start) if lag is None else _difference(lag, bounds, to)
    return {
        "topic": partition[0],
        "partition": partition[1],
        "from": None if lag is None else lag.committed,
        "to": to,
        "repeated": repeated,
        "skipped": skipped,
    }


def _difference(lag: Lag, bounds: Bounds, to: int) -> tuple[int, int]:
    """How many offsets that are done would be handled again, and how many that are not never would."""
    from headrace.runtime.progress import BadProgress, Progress  # noqa: PLC0415

    mark = max(lag.committed, bounds.start)
    try:
        progress = Progress.restore(lag.committed, lag.progress)
    except BadProgress:
        progress = Progress(lag.committed)
    done_after = progress.done_from(to)
    done_before = progress.done_beyond - done_after
    return max(0, mark - to) + done_after, max(0, to - mark - done_before)


def _word(value: object) -> object:
    return "-" if value is None else value
