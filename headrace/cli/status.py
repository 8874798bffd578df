"""`headrace status`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import app_option, broker_option, json_option, settings_from, target_argument
from headrace.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from headrace.runtime.control import Control
    from headrace.runtime.ports import Store, TopicInfo
    from headrace.runtime.settings import Settings
    from headrace.runtime.standing import Standing
    from headrace.sandbox.manifest import FunctionSpec

_COLUMNS = ("function", "state", "lag", "in flight", "waiting", "workers", "dead letters", "why")
_EVERY_S = 1.0
_COUNTED = 2000

Standings = Sequence["Standing"]


@click.command("status")
@target_argument
@broker_option
@app_option
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C: a live view, or a line for each change where piped.")
@json_option
def command(as_json: bool, watch: bool, **given: str | None) -> int:
    """What each function does and why: running, idle, retrying, waiting-full, paused or stopped."""
    settings = settings_from(**given)
    show = _json_printer(watch=watch) if as_json else _lines() if watch else _print
    if watch and not as_json and sys.stdout.isatty():
        return asyncio.run(_live(settings, explicit=given["target"] is not None))
    return asyncio.run(_status(settings, show, explicit=given["target"] is not None, watch=watch))


async def _status(settings: Settings, show: Callable[[Standings], None], *, explicit: bool, watch: bool) -> int:
    async for standings in _standings(settings, explicit=explicit):
        show(standings)
        if not watch:
            break
    return 0


async def _live(settings: Settings, *, explicit: bool) -> int:
    from rich.live import Live  # noqa: PLC0415

    with Live(auto_refresh=False) as live:
        async for standings in _standings(settings, explicit=explicit):
            live.update(_table(standings), refresh=True)
    return 0


async def _standings(settings: Settings, *, explicit: bool) -> AsyncIterator[Standings]:
    """How the functions stand, every second."""
    from headrace.compose import shared_store  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app = app_of(settings, Path.cwd())
    declared = await _declared(settings, explicit=explicit)
    async with shared_store(settings, Path.cwd()) as store:
        while True:
            yield await _look(settings, store, app, declared)
            await asyncio.sleep(_EVERY_S)


async def _declared(settings: Settings, *, explicit: bool) -> Sequence[FunctionSpec]:
    """The functions of the target. One that does not load is no reason not to tell what the log knows."""
    from headrace.compose import workshop  # noqa: PLC0415
    from headrace.functions.errors import DeclarationError, SandboxError, TargetError  # noqa: PLC0415

    try:
        async with workshop(settings, Path.cwd()) as shop:
            return shop.manifest.functions
    except (DeclarationError, TargetError, SandboxError) as error:
        if explicit:
            raise
        say(f"headrace: functions are those that the log knows: {error}")
        return ()


async def _look(settings: Settings, store: Store, app: str, declared: Sequence[FunctionSpec]) -> Standings:
    from headrace.compose import bulletins  # noqa: PLC0415
    from headrace.functions.names import group_of  # noqa: PLC0415
    from headrace.runtime.clock import SystemClock  # noqa: PLC0415
    from headrace.runtime.control import control_of  # noqa: PLC0415
    from headrace.runtime.standing import Sight  # noqa: PLC0415

    lags = await store.lag(f"{app}.")
    reports = bulletins(settings, Path.cwd(), app)
    known = [lag.group.removeprefix(f"{app}.") for lag in lags]
    names = list(dict.fromkeys([*(spec.name for spec in declared), *sorted(known)]))
    served = await store.served([group_of(app, name) for name in names])
    control = await control_of(store, app)
    paused = {name: why for name in control.paused if (why := control.why_paused(name)) is not None}
    letters = await _dead_letters(store, app, {spec.name: spec for spec in declared}, names, control)
    sight = Sight(app, SystemClock().now_ms(), lags, served, letters, reports, paused)
    return [sight.standing(name) for name in names]


async def _dead_letters(
    store: Store, app: str, declared: Mapping[str, FunctionSpec], names: Sequence[str], control: Control
) -> dict[str, int]:
    """Open dead letters by function."""
    from headrace.functions.names import dead_letter_topic_of  # noqa: PLC0415
    from headrace.runtime.plan import dead_letter_topic  # noqa: PLC0415

    topics = {
        name: dead_letter_topic(app, declared[name]) if name in declared else dead_letter_topic_of(app, name)
        for name in names
    }
    infos = await store.topics({topic for topic in topics.values() if topic})
    return {
        name: await _open_letters(store, infos[topic], name, control)
        for name, topic in topics.items()
        if topic is not None and topic in infos
    }


async def _open_letters(store: Store, info: TopicInfo, function: str, control: Control) -> int:
    """How many there are; of a very large topic, how many offsets of it are not marked."""
    from headrace.runtime.letters import dead_letters  # noqa: PLC0415

    size = sum(bounds.end - bounds.start for bounds in info.bounds)
    if size > _COUNTED:
        marked = [one for one in control.letters if one.topic == info.name]
        return size - sum(info.bounds[one.partition].start <= one.offset for one in marked)
    letters = [one async for one in dead_letters(store, info.name)]
    return sum(one.function == function and one.letter not in control.letters for one in letters)


# -- printing -----------------------------------------------------------------------------------------------------


def _json_printer(*, watch: bool) -> Callable[[Standings], None]:
    """All as one document; while watching, one line for each function that changed."""
    from dataclasses import asdict  # noqa: PLC0415

    if not watch:
        return lambda standings: print_json([asdict(one) for one in standings])
    return _changes(lambda one: print_json(asdict(one)))


def _lines() -> Callable[[Standings], None]:
    return _changes(
        lambda one: click.echo("  ".join(filter(None, (one.function, one.state, _figures(one), one.reason))))
    )


def _changes(tell: Callable[[Standing], None]) -> Callable[[Standings], None]:
    before: dict[str, Standing] = {}

    def show(standings: Standings) -> None:
        for one in standings:
            if before.get(one.function) != one:
                before[one.function] = one
                tell(one)
        sys.stdout.flush()

    return show


def _figures(one: Standing) -> str:
    return f"lag {_cell(one.lag)}, {one.dead_letters} dead letters"


def _print(standings: Standings) -> None:
    if standings:
        print_table(_COLUMNS, map(_row, standings))
    else:
        say("no function of this app has run on this log yet, and there is no target here")


def _table(standings: Standings) -> Any:
    from rich.box import SIMPLE  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*_COLUMNS, box=SIMPLE, pad_edge=False)
    for one in standings:
        table.add_row(*map(str, _row(one)))
    return table


def _row(one: Standing) -> tuple[object, ...]:
    figures = (one.lag, one.in_flight, one.waiting, one.workers)
    return (one.function, one.state, *map(_cell, figures), one.dead_letters, one.reason)


def _cell(figure: int | None) -> object:
    return "-" if figure is None else figure
