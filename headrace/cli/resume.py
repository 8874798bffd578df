"""`headrace resume`."""

from __future__ import annotations

import asyncio

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from


@click.command("resume")
@click.argument("function")
@broker_option
@app_option
@json_option
def command(function: str, broker: str | None, app: str | None, as_json: bool) -> int:
    """Have a paused FUNCTION go on where it stood."""
    from headrace.cli.pause import show, want  # noqa: PLC0415

    show(asyncio.run(want(settings_from(broker=broker, app=app), function, paused=False)), as_json=as_json)
    return 0
