"""`headrace dlq show`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.dlq.selection import Selection, nothing, selection_options
from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.runtime.settings import Settings


@click.command("show")
@click.argument("function")
@selection_options
@broker_option
@app_option
@json_option
def command(
    function: str, as_json: bool, *, fingerprint: str | None, event: str | None, every: bool, **shared: Any
) -> int:
    """Print selected open dead letters of FUNCTION, the whole record of each. Exits 1 if nothing matches."""
    selection = Selection.of(fingerprint=fingerprint, event=event, every=every)
    documents = asyncio.run(_shown(settings_from(**shared), function, selection))
    if as_json:
        print_json(documents)
    else:
        for document in documents:
            _print(document)
    return 0 if documents else nothing()


async def _shown(settings: Settings, function: str, selection: Selection) -> list[dict[str, Any]]:
    from headrace.cli.dlq.boxes import box_of, open_letters  # noqa: PLC0415
    from headrace.cli.known import declared  # noqa: PLC0415
    from headrace.cli.tail import event_document  # noqa: PLC0415
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app, functions = app_of(settings, Path.cwd()), await declared(settings)
    async with shared_store(settings, Path.cwd()) as store:
        box = await box_of(store, app, functions, function)
        letters = await open_letters(store, box, await control_of(store, app))
        return [
            {
                **event_document((one.letter.topic, one.letter.partition), one.record, store.cluster),
                "id": one.event_id,
                "function": one.function,
                "origin": {"topic": one.origin.topic, "partition": one.origin.partition, "offset": one.origin.offset},
                "error": {"type": one.error_type, "message": one.error_message, "fingerprint": one.fingerprint},
                "failed_at": one.failed_at,
                "attempts": one.attempts,
                "redrives": one.redrives,
            }
            for one in letters
            if selection.has(one)
        ]


def _print(document: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    origin, error = document["origin"], document["error"]
    click.secho(document["id"], bold=True, nl=False)
    click.echo(f"  {origin['topic']}/{origin['partition']}/{origin['offset']}  key {document['key']}")
    click.echo(f"  {error['type']}: {error['message']}")
    attempts = f"{document['attempts']} attempt{'s' * (document['attempts'] != 1)}"
    click.echo(f"  failed at {document['failed_at']} after {attempts}; {error['fingerprint']}")
    click.echo(f"  {json.dumps(document['data'], ensure_ascii=False)}")
    for line in str(document["headers"].get("headrace-error-stack", "")).splitlines():
        click.echo(f"    {line}")
