"""`headrace tail`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from headrace.cli.options import broker_option, json_option, settings_from
from headrace.cli.output import json_or_text, print_json, text_or_base64
from headrace.cli.where import known_topic, offset_at

if TYPE_CHECKING:
    from headrace.runtime.ports import Partition, Record, Store
    from headrace.runtime.settings import Settings

_PAGE = 500


class _Found(NamedTuple):
    partition: Partition
    record: Record


@click.command("tail")
@click.argument("topic")
@click.option("--from", "start", metavar="WHERE", help="earliest, latest, an offset, or a time (ISO 8601).")
@click.option("-n", "count", type=click.IntRange(min=1), help="Stop after that many events.")
@click.option(
    "--no-follow", is_flag=True, help="Stop at the end of the topic; starts at earliest unless --from is given."
)
@broker_option
@json_option
def command(topic: str, start: str | None, count: int | None, no_follow: bool, **shared: Any) -> int:
    """Print the events of TOPIC, from its end on and as they come."""
    settings = settings_from(broker=shared["broker"])
    where = start if start is not None else "earliest" if no_follow else "latest"
    return asyncio.run(
        _tail(settings, topic, where=where, count=count, follow=not no_follow, as_json=shared["as_json"])
    )


async def _tail(settings: Settings, topic: str, where: str, count: int | None, *, follow: bool, as_json: bool) -> int:
    from headrace.compose import shared_store  # noqa: PLC0415

    async with shared_store(settings, Path.cwd()) as store:
        positions = await _positions(store, topic, where)
        shown = 0
        async for found in _events(store, positions, follow=follow):
            event = event_document(found.partition, found.record, store.cluster)
            print_json(event) if as_json else _print_line(event)
            shown += 1
            if shown == count:
                break
    return 0


async def _positions(store: Store, topic: str, where: str) -> dict[Partition, int]:
    positions = {}
    for number, bounds in enumerate((await known_topic(store, topic)).bounds):
        partition = (topic, number)
        positions[partition] = await offset_at(store, partition, bounds, where, hint="--from")
    return positions


async def _events(store: Store, positions: dict[Partition, int], *, follow: bool) -> AsyncIterator[_Found]:
    """All events from these positions on, those of one page in the order they were appended."""
    while True:
        page: list[_Found] = []
        for partition, offset in positions.items():
            fetched = await store.read(partition, offset, _PAGE)
            positions[partition] = fetched.next
            page += [_Found(partition, record) for record in fetched.records]
        for found in sorted(page, key=lambda found: (found.record.timestamp, found.partition, found.record.offset)):
            yield found
        if not page:
            if not follow:
                return
            await store.changed(1.0)


def event_document(partition: Partition, record: Record, cluster: str) -> dict[str, Any]:
    """A record as `tail --json` prints it."""
    from headrace.functions.cloudevents import Malformed, read  # noqa: PLC0415
    from headrace.sandbox.headers import by_name, unpack  # noqa: PLC0415

    place = (*partition, record.offset)
    try:
        envelope = read(by_name(record.headers), record.value, place, cluster)
    except Malformed:
        envelope = read({}, record.value, place, cluster)
    return {
        "topic": partition[0],
        "partition": partition[1],
        "offset": record.offset,
        "key": None if record.key is None else text_or_base64(record.key),
        "type": envelope.type,
        "id": envelope.id,
        "time": envelope.time(record.timestamp).astimezone(UTC).isoformat(),
        "headers": _headers(unpack(record.headers)),
        "data": json_or_text(envelope.data),
    }


def _headers(headers: list[tuple[str, bytes]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in headers:
        shown = text_or_base64(value)
        if name not in document:
            document[name] = shown
        elif isinstance(document[name], list):
            document[name].append(shown)
        else:
            document[name] = [document[name], shown]
    return document


def _print_line(event: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    time = datetime.fromisoformat(event["time"]).astimezone().strftime("%H:%M:%S")
    data = json.dumps(event["data"], ensure_ascii=False)
    key = event["key"] if isinstance(event["key"], str) else json.dumps(event["key"])
    click.echo(f"{time}  {event['partition']}/{event['offset']}  {key}  {event['type'] or '-'}  {data}")
