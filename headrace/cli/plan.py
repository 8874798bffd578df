"""`headrace topics plan`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import app_option, json_option, settings_from, target_argument
from headrace.cli.output import print_json, say

if TYPE_CHECKING:
    from headrace.runtime.settings import Settings
    from headrace.triggers.brokers.kafka.plan import Plan, PlannedTopic


@click.command("plan")
@target_argument
@app_option
@json_option
def command(target: str | None, app: str | None, as_json: bool) -> int:
    """What a Kafka cluster needs for TARGET: topics, groups, transactional ids, access rules. Asks no cluster."""
    settings = settings_from(target=target, app=app)
    found = asyncio.run(_plan(settings))
    if settings.app is None:
        say(f"headrace: the app has no name yet, {found.app!r} is a guess: on Kafka, `run` wants --app or HEADRACE_APP")
    if as_json:
        print_json(document_of(found))
    else:
        _print(found)
    return 0


async def _plan(settings: Settings) -> Plan:
    from headrace.compose import workshop  # noqa: PLC0415
    from headrace.triggers.brokers.kafka.plan import plan_of  # noqa: PLC0415

    kafka = settings.kafka
    replication = kafka.replication_factor if (kafka.replication_factor or 0) > 0 else None
    async with workshop(settings, Path.cwd()) as shop:
        functions, user = shop.manifest.functions, kafka.sasl_username
        return plan_of(shop.app, functions, replication=replication, user=user, said=shop.topics)


def document_of(plan: Plan) -> dict[str, Any]:
    """A plan as `topics plan --json` prints it."""
    from dataclasses import asdict  # noqa: PLC0415

    fields = asdict(plan)
    fields["acls"] = [{"principal": plan.principal, **acl} for acl in fields["acls"]]
    return fields


def _print(plan: Plan) -> None:
    from rich.console import Console  # noqa: PLC0415

    # Piped, there is no width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(f"What a Kafka cluster needs for the app {plan.app}\n")
    console.print(_table(("topic", "is", "of", "partitions", "made"), map(_topic_row, plan.topics)))
    console.print(_table((f"{plan.principal} on", "", "needs"), _rights(plan)))
    console.print(f"Consumer groups: {', '.join(plan.groups.values())}")
    if plan.transactional_ids:
        ids = ", ".join(f"{prefix}<topic>/<partition>" for prefix in plan.transactional_ids.values())
        console.print(f"Transactional ids: {ids}")
    console.print(f"\n{_making(plan)}", soft_wrap=True)


def _making(plan: Plan) -> str:
    configs = ", ".join(f"{name}={value}" for name, value in plan.topics[0].configs.items())
    replication = plan.topics[0].replication
    replicas = f"{replication} replicas" if replication else "as many replicas as is the broker's default"
    return (
        f"Topics that are missing are made with {configs} and {replicas}, if CREATE is allowed. Where it is not, make "
        "all of them beforehand."
    )


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Any:
    from rich.box import SIMPLE  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _topic_row(topic: PlannedTopic) -> tuple[str, ...]:
    alike = f"as {', '.join(topic.like)}" if topic.like else "the broker's default"
    partitions = str(topic.partitions) if topic.partitions else alike
    return topic.name, ", ".join(topic.kinds), ", ".join(topic.functions), partitions, topic.made


def _rights(plan: Plan) -> Iterable[tuple[str, ...]]:
    """The rules, with those on one thing together."""
    operations: dict[tuple[str, str], list[str]] = {}
    for acl in plan.acls:
        name = f"{acl.name}*" if acl.pattern == "prefixed" else acl.name
        operations.setdefault((acl.resource.replace("_", " "), name), []).append(acl.operation)
    return [(resource, name, ", ".join(some)) for (resource, name), some in operations.items()]
