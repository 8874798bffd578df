"""`headrace log`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.amounts import size
from headrace.cli.options import broker_option, json_option, settings_from
from headrace.cli.output import print_json, say

if TYPE_CHECKING:
    from headrace.triggers.brokers.sqlite.integrity import Report
    from headrace.triggers.brokers.sqlite.tidying import Tidied

Show = Callable[[str, int, int | None], None]
"""Shows what is being done, how far it is, and of how much, if that is known."""


@click.group("log")
def command() -> None:
    """Back up, check and compact the embedded log, while others go on using it."""


@command.command("backup")
@click.argument("target", metavar="PATH", type=click.Path(path_type=Path, dir_okay=False))
@broker_option
@json_option
def backup(target: Path, broker: str | None, as_json: bool) -> int:
    """Copy the log to the new file PATH: as it is at one moment, whole, and a log by itself.

    To restore it, stop all that uses the log, put the copy in its place and remove what lies beside it (-wal, -shm).
    """
    from headrace.triggers.brokers.sqlite.backup import backup  # noqa: PLC0415

    path = _path(broker)
    with _progress() as show:
        count = backup(path, Path(os.path.realpath(target)), lambda done, total: show("copying", done, total))
    if as_json:
        print_json({"path": str(target), "bytes": count})
    else:
        say(f"{target}: {size(count)}, as the log was at one moment")
    return 0


@command.command("check")
@broker_option
@json_option
def check(broker: str | None, as_json: bool) -> int:
    """See whether the log is whole and whether anything endangers it. Exits 1 if so."""
    from headrace.triggers.brokers.sqlite.integrity import examine  # noqa: PLC0415

    path = _path(broker)
    with _progress() as show:
        report = examine(path, lambda what: show(what, 0, None))
    if as_json:
        print_json(_document(report))
    else:
        _print_report(report)
    return 0 if report.is_sound else 1


@command.command("compact")
@broker_option
@json_option
def compact(broker: str | None, as_json: bool) -> int:
    """Delete what the topics' settings do not keep, compact, and make the file as small as it can be."""
    from headrace.triggers.brokers.sqlite.tidying import tidy  # noqa: PLC0415

    path = _path(broker)
    total: dict[str, int] = {}
    with _progress() as show:

        def tell(what: str, count: int) -> None:
            total[what] = total.get(what, 0) + count
            show(what, total[what], None)

        tidied = tidy(path, tell)
    print_json(_outcome(tidied)) if as_json else _print_outcome(tidied)
    return 0


def _path(broker: str | None) -> Path:
    from headrace.triggers.url import path_of  # noqa: PLC0415

    return path_of(settings_from(broker=broker).broker)


def _document(report: Report) -> dict[str, Any]:
    return {
        **report._asdict(),
        "sound": report.is_sound,
        "findings": [finding._asdict() for finding in report.findings],
    }


def _print_report(report: Report) -> None:
    click.echo(
        f"{report.path}: {size(report.bytes)}, {size(report.wal)} in its -wal, {size(report.free)} free; "
        f"schema {report.schema}, SQLite {report.sqlite}, on {report.filesystem or 'an unknown filesystem'}"
    )
    for finding in report.findings:
        click.echo(f"{finding.severity}: {finding.what}")
        click.echo(f"    {finding.do}")
    click.echo("the log is sound" if report.is_sound else "the log needs attention")


def _outcome(tidied: Tidied) -> dict[str, Any]:
    done = tidied.done
    return {
        "before": tidied.before,
        "after": tidied.after,
        "deleted": done.records,
        "compacted": done.compacted,
        "lost": [loss._asdict() for loss in done.losses],
        "rewritten": tidied.rewritten,
        "users": [user._asdict() for user in tidied.users],
    }


def _print_outcome(tidied: Tidied) -> None:
    done = tidied.done
    click.echo(f"{size(tidied.before)} before, {size(tidied.after)} now")
    click.echo(f"{done.records:,} records deleted, {done.compacted:,} compacted away")
    for loss in done.losses:
        click.echo(
            f"lost to {loss.group}: {loss.records:,} records of {loss.topic}/{loss.partition} it had not handled"
        )
    if not tidied.rewritten:
        users = ", ".join(map(str, tidied.users))
        click.echo(
            f"space was given back in slices, because {users} would have had to wait; to have the file written anew "
            "as well, stop them and try again"
        )


@contextmanager
def _progress() -> Iterator[Show]:
    """A line that moves on a terminal; elsewhere a line for each thing that is begun."""
    if not sys.stderr.isatty():
        begun: set[str] = set()

        def say_once(what: str, _count: int, _total: int | None) -> None:
            if what not in begun:
                begun.add(what)
                say(f"{what} …")

        yield say_once
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def move(what: str, count: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=count, total=total)

        yield move
