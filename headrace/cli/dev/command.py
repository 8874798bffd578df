"""The command line of `headrace dev`."""

from __future__ import annotations

import asyncio

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from, start_option, target_argument
from headrace.cli.serving import check_app


@click.command("dev")
@target_argument
@broker_option
@app_option
@start_option
@click.option("--rerun-last-failed", is_flag=True, help="After each save, rerun the event that failed last.")
@click.option("--no-keys", is_flag=True, help="Take no keys from the terminal.")
@json_option
def command(
    target: str | None,
    *,
    broker: str | None,
    app: str | None,
    starts: dict[str, str],
    rerun_last_failed: bool,
    no_keys: bool,
    as_json: bool,
) -> int:
    """Run all functions of TARGET while you write them: save a file, and the next event runs the new code.

    Prints a line for each event, with the error's place if it failed. Code that cannot be loaded is shown, and the one
    before it goes on serving. On a terminal, r reruns the event that failed last, e emits a sample, q quits.
    """
    from headrace.cli.dev.session import Wishes, dev  # noqa: PLC0415
    from headrace.cli.logs import configure_logs  # noqa: PLC0415

    given = {"target": target, "broker": broker, "app": app}
    check_app(settings_from(**given))
    if as_json:
        configure_logs(as_json=True)
    wishes = Wishes(given, starts, rerun=rerun_last_failed, keys=not no_keys and not as_json, as_json=as_json)
    return asyncio.run(dev(wishes))
