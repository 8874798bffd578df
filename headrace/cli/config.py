"""`headrace config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from, target_argument
from headrace.cli.output import print_json, print_table


@click.command("config")
@target_argument
@broker_option
@app_option
@json_option
def command(as_json: bool, **given: str | None) -> int:
    """The settings in force here, and who says each: the command line, a variable, or a file. Secrets are hidden."""
    from headrace.runtime.provenance import provenance  # noqa: PLC0415
    from headrace.triggers.url import without_password  # noqa: PLC0415

    found = provenance(settings_from(**given), Path.cwd(), given)
    documents = [one._asdict() for one in found]
    for document in documents:
        if document["name"] == "broker":
            document["value"] = without_password(document["value"])
    if as_json:
        print_json(documents)
    else:
        print_table(
            ("setting", "value", "source"), [(one["name"], _word(one["value"]), one["source"]) for one in documents]
        )
    return 0


def _word(value: Any) -> str:
    return "-" if value is None else str(value)
