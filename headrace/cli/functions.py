"""`headrace functions`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import json_option, settings_from, target_argument
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.runtime.settings import Settings
    from headrace.sandbox.manifest import FunctionSpec, Manifest

_IDENTITY = ("name", "topics", "emits", "types", "file", "line", "doc", "is_async", "explicit", "schema", "settings")


@click.command("functions")
@target_argument
@json_option
def command(target: str | None, as_json: bool) -> int:
    """List the functions of TARGET: topics, what they emit, options with their source, JSON Schemas."""
    manifest = asyncio.run(_manifest(settings_from(target=target)))
    documents = [document_of(spec) for spec in manifest.functions]
    if as_json:
        print_json(documents)
    else:
        for number, document in enumerate(documents):
            if number:
                click.echo()
            _print(document)
    return 0


async def _manifest(settings: Settings) -> Manifest:
    from headrace.compose import workshop  # noqa: PLC0415

    async with workshop(settings, Path.cwd()) as shop:
        return shop.manifest


def document_of(spec: FunctionSpec) -> dict[str, Any]:
    """A function as `functions --json` prints it."""
    import msgspec  # noqa: PLC0415

    fields: dict[str, Any] = msgspec.to_builtins(spec)
    fields["sandbox"] = fields.pop("grants")
    options = {name: value for name, value in fields.items() if name not in _IDENTITY}
    return {
        "name": spec.name,
        "topics": spec.topics,
        "emits": spec.emits,
        "types": spec.types,
        "file": spec.file,
        "line": spec.line,
        "doc": spec.doc,
        "async": spec.is_async,
        "options": {name: {"value": value, "source": _source(name, spec)} for name, value in options.items()},
        "schema": None if spec.schema is None else json.loads(spec.schema),
    }


def _source(name: str, spec: FunctionSpec) -> str:
    if name in spec.settings:
        return "settings"
    return "code" if ("dead_letter" if name == "discard" else name) in spec.explicit else "default"


def _print(document: dict[str, Any]) -> None:
    click.secho(document["name"], bold=True, nl=False)
    click.echo(f"  {document['file']}:{document['line']}")
    if document["doc"]:
        click.echo(f"  {document['doc']}")
    click.echo(f"  takes   {', '.join(document['types']) or 'any type'} from {', '.join(document['topics'])}")
    for topic, types in document["emits"].items():
        click.echo(f"  emits   {', '.join(types) or 'any type'} to {topic}")
    for name, option in document["options"].items():
        if option["source"] != "default":
            source = "  (settings)" if option["source"] == "settings" else ""
            click.echo(f"  {name:<7} {_short(option['value'])}{source}")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_short(item)}" for name, item in value.items() if item not in (None, [], {}, False))
    if isinstance(value, list):
        return "; ".join(_short(item) for item in value)
    return str(value)
