"""`headrace new`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from headrace.cli.options import json_option
from headrace.cli.output import print_json


@click.command("new")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", metavar="APP", help="The app's name (default: the folder's).")
@json_option
def command(folder: Path, name: str | None, as_json: bool) -> int:
    """Make a small working project in DIR: a function, its test, settings and a Dockerfile."""
    from headrace.cli.new.project import make, name_for  # noqa: PLC0415

    app = name_for(folder, name)
    files = make(folder, app)
    if as_json:
        print_json({"folder": os.path.realpath(folder), "app": app, "files": files})
        return 0
    click.echo(f"{folder}: a project of the app {app!r}")
    for file in files:
        click.echo(f"  {file}")
    click.echo("next:")
    for line in _next(folder):
        click.echo(f"  {line}")
    return 0


def _next(folder: Path) -> list[str]:
    import shlex  # noqa: PLC0415

    there = [] if os.path.realpath(folder) == str(Path.cwd()) else [f"cd {shlex.quote(str(folder))}"]
    return [
        *there,
        "headrace invoke functions.py::confirm_order --sample",
        """headrace emit orders '{"order_id": "order-1", "email": "ada@example.com", "total": 9.5}' --key ada""",
        "headrace run --until-idle",
        "headrace tail confirmations --no-follow",
    ]
