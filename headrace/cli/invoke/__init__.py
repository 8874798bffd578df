"""`headrace invoke`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import (
    app_option,
    broker_option,
    event_options,
    json_option,
    parse_data,
    parse_headers,
    settings_from,
)
from headrace.cli.output import print_json, say
from headrace.cli.where import is_offset

if TYPE_CHECKING:
    from headrace.cli.invoke.event import Asked

_GOOD = ("done", "skipped")
_EVENT = {"key": "--key", "type_": "--type", "headers": "--header", "raw": "--raw", "null": "--null"}


@click.command("invoke")
@click.argument("function", metavar="TARGET::NAME")
@click.argument("data", required=False)
@event_options
@click.option(
    "--sample", is_flag=True, help="Data made from the function's JSON Schema; --type chooses one of several."
)
@click.option(
    "--from",
    "place",
    metavar="TOPIC:PARTITION:OFFSET",
    callback=lambda _context, _parameter, given: _place(given),
    help="A past event, as it lies there; of a retry or dead-letter topic the event it is a copy of.",
)
@click.option("--debug", is_flag=True, help="Stop at the handler's first line, in a debugger at this terminal (pdb).")
@broker_option
@app_option
@json_option
def command(function: str, as_json: bool, *, debug: bool, broker: str | None, app: str | None, **event: Any) -> int:
    """Run one function once with DATA (JSON, or '-' for stdin), in its sandbox; nothing it emits is published.

    Exits 0 if the event was done or skipped, else 1. Without a type the event is taken as what the function expects.
    No broker is needed, but for --from.
    """
    target, separator, name = function.rpartition("::")
    if not separator:
        raise click.UsageError(f"{function!r}: say which function, for example functions.py::confirm_order")
    asked = _asked(event)
    from headrace.cli.invoke.outcome import print_result, print_told  # noqa: PLC0415
    from headrace.cli.invoke.session import invoke  # noqa: PLC0415
    from headrace.cli.invoke.terminal import terminal  # noqa: PLC0415

    settings = settings_from(target=target or None, broker=broker, app=app)
    with terminal() if debug else nullcontext() as fd:
        tell = _say_nothing if as_json else print_told
        result = asyncio.run(invoke(settings, Path.cwd(), name, asked, tell=tell, terminal=fd))
    print_json(result) if as_json else print_result(result)
    if "sample" in result and result["outcome"] == "rejected" and not result["error"]["stack"]:
        examples = "give the field Field(examples=[…]), or msgspec.Meta(examples=[…])"
        say(f"headrace: the sample breaks a rule that the schema does not say; {examples}")
    return 0 if result["outcome"] in _GOOD else 1


def _say_nothing(_: object) -> None:
    """The result says it, too."""


def _place(text: str | None) -> tuple[str, int, int] | None:
    if text is None:
        return None
    topic, partition, offset = [*text.rsplit(":", 2), "", ""][:3]
    if not (topic and is_offset(partition) and is_offset(offset)):
        raise click.BadParameter(f"{text!r} is not TOPIC:PARTITION:OFFSET, for example orders:0:42")
    return topic, int(partition), int(offset)


def _asked(event: dict[str, Any]) -> Asked:
    """What event the command line asks for."""
    from headrace.cli.invoke.event import Given, Past, Sampled  # noqa: PLC0415

    given = ["DATA"] if event["data"] is not None else []
    given += [option for name, option in _EVENT.items() if event[name]]
    if (place := event["place"]) is not None:
        if given := [*given, *(["--sample"] if event["sample"] else [])]:
            raise click.UsageError(f"--from takes a past event as it is; it does not go with {given[0]}")
        return Past(*place)
    headers = parse_headers(event["headers"])
    if event["sample"]:
        if given := [one for one in given if one in {"DATA", "--raw", "--null"}]:
            raise click.UsageError(f"--sample makes the data; it does not go with {given[0]}")
        return Sampled(event["type_"], event["key"], headers)
    text = sys.stdin.read() if event["data"] == "-" else event["data"]
    payload = parse_data(text, raw=event["raw"], null=event["null"])
    return Given(payload, event["type_"], event["key"], headers)
