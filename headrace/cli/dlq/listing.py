"""`headrace dlq list`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headrace.runtime.letters import DeadLetter
    from headrace.runtime.settings import Settings

_COLUMNS = ("function", "count", "error_type", "first", "last", "fingerprint", "example")


@click.command("list")
@click.argument("function", required=False)
@broker_option
@app_option
@json_option
def command(function: str | None, as_json: bool, **shared: str | None) -> int:
    """Open dead letters, of FUNCTION or of all, grouped by how they failed."""
    groups = asyncio.run(_grouped(settings_from(**shared), function))
    if as_json:
        print_json(groups)
    elif groups:
        print_table(_COLUMNS, ([group[column] for column in _COLUMNS] for group in groups))
    else:
        say("no open dead letters")
    return 0


async def _grouped(settings: Settings, function: str | None) -> list[dict[str, Any]]:
    from headrace.cli.dlq.boxes import box_of, boxes_of, open_letters  # noqa: PLC0415
    from headrace.cli.known import declared  # noqa: PLC0415
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app, functions = app_of(settings, Path.cwd()), await declared(settings)
    groups: dict[tuple[str, str], list[DeadLetter]] = {}
    async with shared_store(settings, Path.cwd()) as store:
        control = await control_of(store, app)
        if function is None:
            boxes = await boxes_of(store, app, functions)
        else:
            boxes = [await box_of(store, app, functions, function)]
        for box in boxes:
            for one in await open_letters(store, box, control):
                groups.setdefault((one.function, one.fingerprint), []).append(one)
    return [_group(letters) for letters in groups.values()]


def _group(letters: Sequence[DeadLetter]) -> dict[str, Any]:
    newest = max(letters, key=lambda one: one.failed_at)
    return {
        "function": newest.function,
        "fingerprint": newest.fingerprint,
        "error_type": newest.error_type,
        "count": len(letters),
        "first": min(one.failed_at for one in letters),
        "last": newest.failed_at,
        "code": newest.code,
        "example": newest.event_id,
    }
