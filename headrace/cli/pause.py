"""`headrace pause`, and what `resume` shares with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.runtime.control import Said
    from headrace.runtime.settings import Settings


@click.command("pause")
@click.argument("function")
@broker_option
@app_option
@json_option
def command(function: str, broker: str | None, app: str | None, as_json: bool) -> int:
    """Have FUNCTION stand still in all runtimes, until `headrace resume`. What runs ends; nothing is charged."""
    show(asyncio.run(want(settings_from(broker=broker, app=app), function, paused=True)), as_json=as_json)
    return 0


async def want(settings: Settings, function: str, *, paused: bool) -> dict[str, Any]:
    """Say what is wanted of a function; the document to print. A function that is so already is left so."""
    from headrace.cli.known import known  # noqa: PLC0415
    from headrace.cli.operator import said_now  # noqa: PLC0415
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.clock import SystemClock  # noqa: PLC0415
    from headrace.runtime.control import control_of, control_spec, pause_record  # noqa: PLC0415

    async with shared_store(settings, Path.cwd()) as store:
        its = await known(settings, store, function)
        before = (await control_of(store, its.app)).paused.get(function)
        if paused is not (before is not None):
            said = said_now()
            await store.ensure([control_spec(its.app)])
            now_ms = SystemClock().now_ms()
            await store.append([pause_record(its.app, function, said if paused else None, now_ms)])
            return _document(function, "paused" if paused else "resumed", said)
        return _document(function, "was paused already" if paused else "was not paused", before)


def show(document: dict[str, Any], *, as_json: bool) -> None:
    """Print what `want` gave."""
    if as_json:
        print_json(document)
    else:
        by = f", by {document['by']} at {document['at']}" if document["by"] else ""
        click.echo(f"{document['function']}: {document['state']}{by}")


def _document(function: str, state: str, said: Said | None) -> dict[str, Any]:
    return {"function": function, "state": state, "by": said and said.by, "at": said and said.at}
