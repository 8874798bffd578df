"""`headrace dlq redrive`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.dlq.selection import Selection, nothing, selection_options
from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json, say

if TYPE_CHECKING:
    from headrace.runtime.letters import DeadLetter
    from headrace.runtime.settings import Settings


@click.command("redrive")
@click.argument("function")
@selection_options
@click.option(
    "--dry-run", is_flag=True, help="Only run them through the present code: what would pass, what would fail."
)
@click.option("--target", metavar="TARGET", help="Where the function's code is, for --dry-run (default: as for run).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also events that were redriven three times before.")
@broker_option
@app_option
@json_option
def command(
    function: str, as_json: bool, *, fingerprint: str | None, event: str | None, every: bool, **given: Any
) -> int:
    """Have FUNCTION, and nobody else, handle selected dead letters once more. Exits 1 if nothing matches.

    With --dry-run nothing is published, but the function's code does run, once for each of them: what it does outside
    of the log (an e-mail it sends) happens. Exits 0 if all would pass, else 1.
    """
    selection = Selection.of(fingerprint=fingerprint, event=event, every=every)
    settings = settings_from(broker=given["broker"], app=given["app"], target=given["target"])
    ask = sys.stdin.isatty() and not given["yes"]
    if given["dry_run"]:
        from headrace.cli.dlq.rehearsal import rehearse  # noqa: PLC0415

        return asyncio.run(rehearse(settings, function, selection, ask=ask, as_json=as_json))
    found = asyncio.run(_redrive(settings, function, selection, force=given["force"], ask=ask))
    if as_json:
        print_json(found)
    elif found["selected"]:
        click.echo(", ".join(f"{name}: {_count(value)}" for name, value in found.items()))
        for one in found["skipped"]:
            say(f"headrace: {one['event']}: {one['reason']}")
    return 0 if found["selected"] else nothing()


def _count(value: object) -> object:
    return len(value) if isinstance(value, list) else value


async def _redrive(
    settings: Settings, function: str, selection: Selection, *, force: bool, ask: bool
) -> dict[str, Any]:
    from headrace.cli.dlq.boxes import box_of, open_letters  # noqa: PLC0415
    from headrace.cli.known import declared  # noqa: PLC0415
    from headrace.cli.operator import said_now  # noqa: PLC0415
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.clock import SystemClock  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.redrive import MOST_REDRIVES, Redriving  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415
    from headrace.triggers.url import is_embedded  # noqa: PLC0415

    app, functions = app_of(settings, Path.cwd()), await declared(settings)
    async with shared_store(settings, Path.cwd()) as store:
        box = await box_of(store, app, functions, function)
        letters = [one for one in await open_letters(store, box, await control_of(store, app)) if selection.has(one)]
        worn = [] if force else [one for one in letters if one.redrives >= MOST_REDRIVES]
        chosen = [one for one in letters if force or one.redrives < MOST_REDRIVES]
        skipped = [_skip(one, f"redriven {one.redrives} times before: --force") for one in worn]
        if not chosen:
            return {"selected": len(letters), "redriven": 0, "skipped": skipped}
        if ask:
            click.confirm(f"Have {function} handle {len(chosen)} dead letters once more?", abort=True, err=True)
        sources = [box.topic, *(box.spec.topics if box.spec else ())]
        redriving = Redriving(store, app, atomic=is_embedded(settings.broker))
        lost = await redriving.send(function, sources, chosen, said_now("redriven"), SystemClock().now_ms())
    skipped += [_skip(one, "its value was too large for a dead letter, and the original is gone") for one in lost]
    return {"selected": len(letters), "redriven": len(chosen) - len(lost), "skipped": skipped}


def _skip(letter: DeadLetter, reason: str) -> dict[str, Any]:
    return {"event": letter.event_id, "reason": reason}
