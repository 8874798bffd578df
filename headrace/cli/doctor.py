"""`headrace doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from, target_argument
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.cli.machine import Check
    from headrace.runtime.settings import Settings
    from headrace.sandbox.manifest import FunctionSpec

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("failed", "red")}


@click.command("doctor")
@target_argument
@broker_option
@app_option
@json_option
def command(as_json: bool, **given: str | None) -> int:
    """Look at all that running needs: versions, limits, isolation, the broker, the target.

    Exits 1 if something will not work.
    """
    from headrace.cli.machine import Check, machine  # noqa: PLC0415
    from headrace.functions.errors import SettingsError  # noqa: PLC0415

    checks = list(machine())
    try:
        settings = settings_from(**given)
    except SettingsError as error:
        checks.append(Check("settings", "failed", str(error), "see `headrace config` and the reference"))
    else:
        checks += asyncio.run(_checks(settings, is_named=settings.target is not None))
    if as_json:
        print_json([asdict(one) for one in checks])
    else:
        for one in checks:
            _print(one)
    return 1 if any(one.verdict == "failed" for one in checks) else 0


async def _checks(settings: Settings, *, is_named: bool) -> list[Check]:
    place = list(_place(settings))
    checks = [*_app(settings), *place]
    if not any(one.verdict == "failed" for one in place):
        checks.append(await _broker(settings))
    return [*checks, *[one async for one in _target(settings, is_named=is_named)]]


def _app(settings: Settings) -> Iterator[Check]:
    from headrace.cli.machine import Check  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415
    from headrace.triggers.url import is_embedded  # noqa: PLC0415

    name = app_of(settings, Path.cwd())
    if settings.app is None and not is_embedded(settings.broker):
        yield Check(
            "app", "failed", f"no name; {name!r} is a guess", "give --app NAME, HEADRACE_APP or app in the settings"
        )
    else:
        yield Check("app", "ok", name)


def _place(settings: Settings) -> Iterator[Check]:
    """Where an embedded log lies, or would; nothing is made."""
    from headrace.cli.machine import Check  # noqa: PLC0415
    from headrace.functions.errors import HeadraceError  # noqa: PLC0415
    from headrace.triggers.brokers.sqlite.place import look  # noqa: PLC0415
    from headrace.triggers.url import log_file  # noqa: PLC0415

    try:
        if (path := log_file(settings.broker, Path.cwd())) is not None:
            yield Check("file system of the log", "ok", f"{look(path) or 'unknown'} at {path}")
    except HeadraceError as error:
        yield Check("file system of the log", "failed", str(error), "see the message")


async def _broker(settings: Settings) -> Check:
    from headrace.cli.machine import Check  # noqa: PLC0415
    from headrace.compose import open_store  # noqa: PLC0415
    from headrace.functions.errors import HeadraceError  # noqa: PLC0415
    from headrace.triggers.url import log_file, without_password  # noqa: PLC0415

    url = without_password(settings.broker)
    try:
        if (path := log_file(settings.broker, Path.cwd())) is not None and not path.exists():
            return Check("broker", "ok", f"{url}: not there yet, made at the first event")
        async with open_store(settings, Path.cwd()) as store:
            topics = await store.topics()
    except HeadraceError as error:
        return Check(
            "broker", "failed", f"{url}: {error}", "see the message; `headrace config` shows the settings used"
        )
    return Check("broker", "ok", f"{url}: reached, {len(topics)} topics, cluster {store.cluster}")


async def _target(settings: Settings, *, is_named: bool) -> AsyncIterator[Check]:
    from headrace.cli.machine import Check  # noqa: PLC0415
    from headrace.compose import check_environment, workshop  # noqa: PLC0415
    from headrace.functions.errors import HeadraceError  # noqa: PLC0415
    from headrace.sandbox.target import find_target  # noqa: PLC0415

    try:
        find_target(settings.target, Path.cwd())
    except HeadraceError as error:
        yield Check("target", "failed" if is_named else "warning", str(error), "name the functions to run: TARGET")
        return
    try:
        async with workshop(settings, Path.cwd()) as shop:
            functions = shop.manifest.functions
            yield Check("target", "ok", f"{shop.target.path}: {', '.join(one.name for one in functions)}")
        check_environment(functions)
        yield Check(
            "secrets", "ok", ", ".join(sorted({s for one in functions for s in one.grants.secrets})) or "none asked"
        )
    except HeadraceError as error:
        yield Check("target", "failed", str(error), "see the message")
        return
    yield _memory_for(functions)


def _memory_for(functions: list[FunctionSpec]) -> Check:
    from headrace.cli.machine import Check, available_memory  # noqa: PLC0415

    most = sum(one.workers[1] * one.grants.memory for one in functions)
    found = f"all workers together may take {most >> 20} MiB, {available_memory() >> 20} MiB are available"
    if most > available_memory():
        return Check("memory for workers", "warning", found, "lower workers or sandbox.memory, or give more")
    return Check("memory for workers", "ok", found)


def _print(check: Check) -> None:
    word, colour = _MARKS[check.verdict]
    click.secho(f"{word:<8}", fg=colour, nl=False)
    click.echo(f"{check.check}: {check.found}")
    if check.remedy:
        click.echo(f"        -> {check.remedy}")
