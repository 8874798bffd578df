"""`headrace emit`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.amounts import parse_delay
from headrace.cli.options import (
    NotJson,
    broker_option,
    event_options,
    json_option,
    parse_data,
    parse_headers,
    parse_json,
    settings_from,
)
from headrace.cli.output import print_json, say

if TYPE_CHECKING:
    from datetime import datetime

    from headrace.producer import Item, Log, Position
    from headrace.runtime.settings import Settings

_ALIKE = 0.8


@click.command("emit")
@click.argument("topic")
@click.argument("data", required=False)
@event_options
@click.option("--id", "id_", metavar="ID", help="The event's id (default: a random one).")
@click.option(
    "--delay",
    metavar="TIME",
    callback=parse_delay,
    help="Let the event enter the topic this much later: seconds, or 90s, 5m, 2h, 7d. On the embedded log.",
)
@click.option("--key-field", metavar="NAME", help="With '-': take the key from this field of each line.")
@broker_option
@json_option
def command(topic: str, data: str | None, broker: str | None, as_json: bool, **event: Any) -> int:
    """Append one event with DATA (JSON) to TOPIC, or with '-' one for each line of stdin."""
    _check(data, event)
    settings = settings_from(broker=broker)
    headers = parse_headers(event["headers"])
    if data == "-":
        return asyncio.run(_emit_lines(settings, topic, headers, event, as_json=as_json))
    return asyncio.run(_emit_one(settings, topic, data, headers, event, as_json=as_json))


def _check(data: str | None, event: dict[str, Any]) -> None:
    if event["key_field"] and (data != "-" or event["key"] or event["raw"]):
        raise click.UsageError("--key-field goes with '-' and JSON lines, and not with --key")
    if event["id_"] and data == "-":
        raise click.UsageError("--id names one event; it does not go with '-'")


async def _emit_one(
    settings: Settings,
    topic: str,
    data: str | None,
    headers: list[tuple[str, str]],
    event: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    from headrace.producer import connect  # noqa: PLC0415

    payload = parse_data(data, raw=event["raw"], null=event["null"])
    async with connect(settings.broker) as log:
        not_before = _not_before(event)
        position = await log.emit(
            topic,
            payload,
            key=event["key"],
            type=event["type_"],
            headers=headers,
            id=event["id_"],
            not_before=not_before,
        )
        await _tell_created(settings, log)
    _print(position, not_before, as_json=as_json)
    return 0


async def _emit_lines(
    settings: Settings, topic: str, headers: list[tuple[str, str]], event: dict[str, Any], *, as_json: bool
) -> int:
    from headrace.producer import connect  # noqa: PLC0415

    count = number = 0
    async with connect(settings.broker) as log:
        async for lines in _stdin():
            not_before = _not_before(event)
            items, problem = _items(lines, number, headers, event, not_before)
            number += len(lines)
            for position in await log.emit_many(topic, items) if items else []:
                count += 1
                if as_json:
                    _print(position, not_before, as_json=True)
            if problem is not None:
                say(f"headrace: {problem}; {count} event(s) appended before it")
                return 1
        await _tell_created(settings, log)
    if not as_json:
        say(f"{count} event(s) appended to {topic}")
    return 0


def _items(
    lines: list[str],
    before: int,
    headers: list[tuple[str, str]],
    event: dict[str, Any],
    not_before: datetime | None,
) -> tuple[list[Item], str | None]:
    """The events of these lines, up to the first bad one and what is wrong with it."""
    from headrace.functions.codec import MAX_EVENT_BYTES, encode, encode_key  # noqa: PLC0415
    from headrace.functions.errors import EmitRefused  # noqa: PLC0415
    from headrace.producer import Item  # noqa: PLC0415

    items: list[Item] = []
    for number, line in enumerate(lines, start=before + 1):
        if not line.strip():
            continue
        if len(line) > MAX_EVENT_BYTES:
            return items, f"line {number}: it is over the limit of {MAX_EVENT_BYTES:,} bytes for an event"
        try:
            payload = parse_data(line, raw=event["raw"], null=False)
            key = _key_of(line, event["key_field"]) if event["key_field"] else event["key"]
            encode(payload)
            encode_key(key)
        except NotJson as error:
            return items, f"line {number}: {error.message}"
        except EmitRefused as error:
            return items, f"line {number}: {error}"
        items.append(Item(payload, key=key, type=event["type_"], headers=headers, not_before=not_before))
    return items, None


def _key_of(line: str, field: str) -> str | None:
    payload = parse_json(line)
    if not isinstance(payload, dict) or field not in payload:
        raise NotJson(f"the data has no field {field!r}, which --key-field names")
    key = payload[field]
    return key if key is None or isinstance(key, str) else json.dumps(key)


async def _stdin() -> AsyncIterator[list[str]]:
    """Lines of stdin as they come: all that one read gives together, so that a slow writer does not wait.

    One that has no end (a device, a file of another kind) is the last, as long as shows that it is too long.
    """
    from headrace.functions.codec import MAX_EVENT_BYTES  # noqa: PLC0415

    rest = b""
    loop = asyncio.get_running_loop()
    while data := await loop.run_in_executor(None, os.read, 0, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield [line.decode("utf-8", "surrogateescape") for line in lines]
        if len(rest) > 4 * MAX_EVENT_BYTES:  # no character has more bytes than four
            break
    if rest:
        yield [rest.decode("utf-8", "surrogateescape")]


async def _tell_created(settings: Settings, log: Log) -> None:
    """Say what was created, and beside what: a misspelt topic is made like any other, and nobody reads it."""
    if not log.created:
        return
    from headrace.compose import shared_store  # noqa: PLC0415

    async with shared_store(settings, Path.cwd()) as store:
        others = [name for name in await store.topics() if name not in log.created]
    for topic in log.created:
        near = get_close_matches(topic, others, n=1, cutoff=_ALIKE)
        say(f"created topic {topic}" + (f"; there is {near[0]!r}, too" if near else ""))


def _not_before(event: dict[str, Any]) -> datetime | None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    if not event["delay"]:  # 0 is at once, as it is without
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=event["delay"])
    except OverflowError:
        raise click.BadParameter("that is too long: ten years at most", param_hint="--delay") from None


def _print(position: Position, not_before: datetime | None, *, as_json: bool) -> None:
    waits = position.offset < 0
    if as_json:
        time = {"partition": None, "offset": None, "not_before": not_before.isoformat()} if not_before and waits else {}
        print_json({**position._asdict(), **time})
    elif not_before and waits:
        click.echo(f"{position.topic} at {not_before.isoformat()}  id {position.id}")
    else:
        click.echo(f"{position.topic}/{position.partition}/{position.offset}  id {position.id}")
