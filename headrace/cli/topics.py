"""`headrace topics`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.cli import plan
from headrace.cli.amounts import UNLIMITED, duration, limit, parse_retention, parse_size, size
from headrace.cli.lag import document_of as lag_document
from headrace.cli.options import broker_option, json_option, settings_from
from headrace.cli.output import print_json, print_table, say
from headrace.cli.where import known_topic

if TYPE_CHECKING:
    from headrace.runtime.ports import Lag, Store, TopicInfo

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_COLUMNS = ("topic", "partitions", "records", "size", "cleanup", "retention")


@click.group("topics", invoke_without_command=True)
@broker_option
@json_option
@click.pass_context
def command(context: click.Context, broker: str | None, as_json: bool) -> int:
    """List the topics of the broker, or do something with one of them."""
    if context.invoked_subcommand is not None:
        if broker or as_json:
            raise click.UsageError(f"options go behind the word: headrace topics {context.invoked_subcommand} --json")
        return 0
    topics = list(_on(broker, lambda store: store.topics()).values())
    documents = [document_of(topic) for topic in topics]
    if as_json:
        print_json(documents)
    elif documents:
        print_table(_COLUMNS, map(_row, topics))
    else:
        say("there are no topics yet: one is made by the first event emitted to it, or `headrace topics create NAME`")
    return 0


command.add_command(plan.command)


def settings_options(function: F) -> F:
    """What a topic may be made with: --retention, --retention-bytes, --cleanup, --max-bytes."""
    for option in (
        click.option("--max-bytes", metavar="SIZE", callback=parse_size, help="The most one record may have."),
        click.option(
            "--cleanup",
            type=click.Choice(["delete", "compact", "compact,delete"]),
            help="delete what is old, or compact: keep the last record of each key; or both.",
        ),
        click.option(
            "--retention-bytes",
            metavar="SIZE",
            callback=parse_size,
            help="How much of each partition is kept: 500MB, 10GiB, unlimited.",
        ),
        click.option(
            "--retention", metavar="TIME", callback=parse_retention, help="How long records stay: 12h, 7d, forever."
        ),
    ):
        function = option(function)
    return function


@command.command("create")
@click.argument("name")
@click.option("--partitions", type=click.IntRange(min=1), help="How many (default: the broker's, 4 when embedded).")
@settings_options
@broker_option
@json_option
def create(name: str, partitions: int | None, broker: str | None, as_json: bool, **given: Any) -> int:
    """Create the topic NAME. Its records stay for ever unless something else is said."""
    from headrace.runtime.ports import TopicSpec  # noqa: PLC0415

    spec = _altered(TopicSpec(name), partitions, given)

    async def work(store: Store) -> TopicInfo | None:
        made = await store.ensure([spec])
        return (await store.topics([name]))[name] if made else None

    if (topic := _on(broker, work)) is None:
        say(f"headrace: topic {name!r} exists; `headrace topics alter {name}` changes it")
        return 1
    _print_topic(topic, as_json=as_json)
    return 0


@command.command("alter")
@click.argument("name")
@click.option("--partitions", type=click.IntRange(min=1), help="How many from now on; never fewer than there are.")
@settings_options
@broker_option
@json_option
def alter(name: str, partitions: int | None, broker: str | None, as_json: bool, **given: Any) -> int:
    """Change the settings of the topic NAME; what is not said stays as it is."""
    if partitions is None and all(value is None for value in given.values()):
        raise click.UsageError("say what is to change: --partitions, --retention, --retention-bytes, --cleanup, …")

    async def work(store: Store) -> tuple[int, TopicInfo]:
        before = await known_topic(store, name)
        spec = _altered(replace(before.spec, max_bytes=None), None, given)
        await store.alter(replace(spec, partitions=partitions))
        return len(before.bounds), (await store.topics([name]))[name]

    count, topic = _on(broker, work)
    if len(topic.bounds) > count:
        say(
            f"{name} has {len(topic.bounds)} partitions now instead of {count}: many keys belong to another one from "
            "now on, where their new events have no order with the old ones. Restart the runtimes that emit to it"
        )
    _print_topic(topic, as_json=as_json)
    return 0


@command.command("describe")
@click.argument("name")
@broker_option
@json_option
def describe(name: str, broker: str | None, as_json: bool) -> int:
    """Show the topic NAME: its settings, its partitions, and how far each group is on it."""

    async def work(store: Store) -> tuple[TopicInfo, list[Lag]]:
        return await known_topic(store, name), [lag for lag in await store.lag("") if lag.partition[0] == name]

    topic, lags = _on(broker, work)
    if as_json:
        print_json(_description(topic, lags))
    else:
        _print_description(topic, lags)
    return 0


@command.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@broker_option
@json_option
def delete(name: str, yes: bool, broker: str | None, as_json: bool) -> int:
    """Delete the topic NAME: its records, and the progress of all groups on it. Nothing brings them back."""

    async def look(store: Store) -> tuple[TopicInfo, list[str]]:
        return await known_topic(store, name), sorted(
            {lag.group for lag in await store.lag("") if lag.partition[0] == name}
        )

    topic, groups = _on(broker, look)
    _confirm(topic, groups, yes=yes)
    _on(broker, lambda store: store.delete(name))
    lost = {"topic": name, "records": _records(topic), "bytes": topic.bytes, "groups": groups}
    if as_json:
        print_json(lost)
    else:
        say(f"deleted {name}")
    return 0


def document_of(topic: TopicInfo) -> dict[str, Any]:
    """A topic as `topics --json` prints it."""
    from headrace.functions.names import is_internal  # noqa: PLC0415

    return {
        "name": topic.name,
        "partitions": len(topic.bounds),
        "records": _records(topic),
        "bytes": topic.bytes,
        "cleanup": topic.spec.cleanup,
        "retention_ms": topic.spec.retention_ms,
        "retention_bytes": topic.spec.retention_bytes,
        "max_bytes": topic.max_bytes,
        "internal": is_internal(topic.name),
    }


def _on(broker: str | None, work: Callable[[Store], Awaitable[T]]) -> T:
    """The result of `work` on the broker."""

    async def run() -> T:
        from headrace.compose import shared_store  # noqa: PLC0415

        async with shared_store(settings_from(broker=broker), Path.cwd()) as store:
            return await work(store)

    return asyncio.run(run())


def _altered(spec: Any, partitions: int | None, given: dict[str, Any]) -> Any:
    if given["max_bytes"] == UNLIMITED:
        raise click.BadParameter("a topic cannot be made to take records of any size", param_hint="--max-bytes")
    return replace(
        spec,
        partitions=partitions or spec.partitions,
        retention_ms=limit(given["retention"], spec.retention_ms),
        retention_bytes=limit(given["retention_bytes"], spec.retention_bytes),
        cleanup=given["cleanup"] or spec.cleanup,
        max_bytes=given["max_bytes"],
    )


def _records(topic: TopicInfo) -> int:
    return sum(bounds.end - bounds.start for bounds in topic.bounds)


def _retention(topic: TopicInfo) -> str:
    spec = topic.spec
    if "delete" not in spec.cleanup:
        return "last of each key"
    limits = [duration(spec.retention_ms)] if spec.retention_ms or not spec.retention_bytes else []
    return ", ".join([*limits, *([size(spec.retention_bytes)] if spec.retention_bytes else [])])


def _row(topic: TopicInfo) -> Sequence[object]:
    return (
        topic.name,
        len(topic.bounds),
        _records(topic),
        size(topic.bytes),
        topic.spec.cleanup,
        _retention(topic),
    )


def _print_topic(topic: TopicInfo, *, as_json: bool) -> None:
    if as_json:
        print_json(document_of(topic))
    else:
        print_table(_COLUMNS, [_row(topic)])


def _description(topic: TopicInfo, lags: Sequence[Lag]) -> dict[str, Any]:
    sizes: Sequence[int | None] = topic.sizes or [None] * len(topic.bounds)
    return {
        **document_of(topic),
        "partitions": [
            {"partition": number, "start": bounds.start, "end": bounds.end, "bytes": sizes[number]}
            for number, bounds in enumerate(topic.bounds)
        ],
        "groups": [{"group": lag.group, **_without_topic(lag_document(lag))} for lag in sorted(lags)],
    }


def _without_topic(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "topic"}


def _print_description(topic: TopicInfo, lags: Sequence[Lag]) -> None:
    document = _description(topic, lags)
    click.secho(topic.name, bold=True)
    click.echo(f"  cleanup {topic.spec.cleanup}, kept: {_retention(topic)}, largest record: {size(topic.max_bytes)}")
    for rows in (document["partitions"], document["groups"]):
        if rows:
            click.echo()
            print_table(list(rows[0]), (list(row.values()) for row in rows))


def _confirm(topic: TopicInfo, groups: Sequence[str], *, yes: bool) -> None:
    progress = f", and the progress of {', '.join(groups)}" if groups else ""
    lost = f"{_records(topic):,} records ({size(topic.bytes)}) of {topic.name} are lost for good{progress}"
    if yes:
        say(lost)
    elif not sys.stdin.isatty():
        raise click.UsageError(f"{lost}: say --yes if that is meant")
    else:
        click.confirm(f"{lost}. Delete it?", abort=True, err=True)
