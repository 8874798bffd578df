"""`headrace run`."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.amounts import not_due
from headrace.cli.options import app_option, broker_option, json_option, settings_from, start_option, target_argument
from headrace.cli.output import say
from headrace.cli.serving import Stops, check_app, opened

if TYPE_CHECKING:
    from headrace.runtime.engine import Engine
    from headrace.runtime.ports import Store
    from headrace.runtime.settings import Settings
    from headrace.sandbox.embryo import Embryo


@click.command("run")
@target_argument
@broker_option
@app_option
@click.option("--until-idle", is_flag=True, help="Stop with 0 when all is handled and nothing is pending.")
@start_option
@json_option
def command(
    target: str | None, *, broker: str | None, app: str | None, until_idle: bool, starts: dict[str, str], as_json: bool
) -> int:
    """Run all functions of TARGET: a file, a folder or a module (default: functions.py or functions/ here).

    SIGTERM and Ctrl-C let running events finish, then end; a second one ends now. With --json the log is JSON.
    """
    from headrace.sandbox.embryo import Embryo  # noqa: PLC0415

    gc.disable()  # while it imports: collections find nothing then, and take a tenth of the time
    embryo = Embryo.begin()  # before all else: it imports for a quarter of a second, and so does this process
    try:
        from headrace.cli.logs import configure_logs  # noqa: PLC0415

        settings = settings_from(target=target, broker=broker, app=app)
        check_app(settings)
        configure_logs(as_json=as_json)
    except BaseException:
        embryo.end()
        raise
    return asyncio.run(_run(settings, starts, embryo, until_idle=until_idle))


async def _run(settings: Settings, starts: dict[str, str], embryo: Embryo, *, until_idle: bool) -> int:
    from headrace.cli.logs import Journal  # noqa: PLC0415
    from headrace.compose import bulletin, engine_of, started_at, workshop  # noqa: PLC0415
    from headrace.sandbox.process import Zygote  # noqa: PLC0415
    from headrace.triggers.url import is_embedded  # noqa: PLC0415

    folder = Path.cwd()
    stops = Stops()
    async with AsyncExitStack() as stack:
        shop = started_at(await stack.enter_async_context(workshop(settings, folder, Zygote(embryo))), starts)
        cautious = not is_embedded(settings.broker)

        def engine_on(store: Store) -> Engine:
            return engine_of(shop, store, [Journal()], cautious=cautious)

        engine = await opened(stack, stops, settings, folder, engine_on)
        if engine is None:
            return 0
        gc.freeze()  # a collection that looks at all that was imported stops the loop for some 35 ms, again and again
        gc.enable()
        async with bulletin(settings, folder, shop.app, engine):
            try:
                _greet(engine, settings)
                await stops.first_or(engine.until_idle() if until_idle else None)
                blocked = engine.blocked if until_idle and not stops.stopped else []
                later = engine.delayed if until_idle and not stops.stopped else None
            finally:
                await stops.second_or(engine, settings.drain)
    for problem in blocked:
        say(f"headrace: not idle: {problem}")
    if later is not None and later.due_ms is not None:
        say(f"headrace: {not_due(later.events, later.due_ms - time.time_ns() // 1_000_000)}")
    return 1 if blocked else 0


def _greet(engine: Engine, settings: Settings) -> None:
    import structlog  # noqa: PLC0415

    from headrace.sandbox.policy import isolation_level  # noqa: PLC0415

    level = isolation_level()
    log = structlog.get_logger("headrace")
    log.info("started", broker=settings.broker, isolation=level.name, not_in_force=", ".join(level.missing) or None)
    for subscription in engine.subscriptions:
        spec = subscription.spec
        log.info("serving", function=spec.name, topics=", ".join(spec.topics), emits=", ".join(spec.emits) or None)
