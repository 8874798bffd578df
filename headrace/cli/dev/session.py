"""A session of `headrace dev`, from its first load to the drain."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.cli.dev.code import FirstCode, Reload, ServedCode, kept_up
from headrace.cli.dev.console import Console
from headrace.cli.dev.controls import SHORT_HELP, Controls
from headrace.cli.dev.documents import Documents
from headrace.cli.dev.keys import Keys
from headrace.cli.dev.loads import Code, Loads
from headrace.cli.dev.rerun import Failures, Rerun
from headrace.cli.dev.scope import Scope
from headrace.cli.dev.teller import Teller
from headrace.cli.dev.watching import Watching
from headrace.cli.options import settings_from
from headrace.cli.serving import Stops, opened
from headrace.compose import Workshop, bulletin, bulletins, engine_of, plan_of, started_at
from headrace.runtime.engine import Engine
from headrace.runtime.ports import Store
from headrace.runtime.reload import Reloaded
from headrace.runtime.settings import Settings
from headrace.sandbox.manifest import Manifest
from headrace.sandbox.policy import isolation_level
from headrace.sandbox.target import find_target
from headrace.triggers.url import is_embedded, run_folder


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for."""

    given: Mapping[str, str | None]
    starts: Mapping[str, str]
    rerun: bool
    keys: bool
    as_json: bool

    def settings(self) -> Settings:
        """The settings in force now. Raises `SettingsError`."""
        settings: Settings = settings_from(**self.given)
        return settings


async def dev(wishes: Wishes) -> int:
    """Serve, watch and tell until stopped; the exit code."""
    stops = Stops()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stops.stop)  # the terminal is gone: drain
    teller = _teller(wishes, stops)
    try:
        async with AsyncExitStack() as stack:
            await Session(wishes, stops, teller, stack).run()
    finally:
        teller.close()
    return 0


def _teller(wishes: Wishes, stops: Stops) -> Console | Documents:
    def gone() -> None:
        if not stops.stopped:
            stops.stop()

    if wishes.as_json:
        return Documents(gone)
    console = Console(Path.cwd(), gone)
    console.take_logs()
    return console


class Session:
    """One run of the command. What it opens, `stack` closes."""

    def __init__(self, wishes: Wishes, stops: Stops, teller: Teller, stack: AsyncExitStack) -> None:
        self._wishes = wishes
        self._stops = stops
        self._teller = teller
        self._stack = stack
        self._folder = Path.cwd()
        self._settings = wishes.settings()
        self._failures = Failures()
        self._store: Store
        self._watching = self._watch()

    async def run(self) -> None:
        """Load, serve, and go on until stopped."""
        shop = await self._first_shop()
        if shop is None:
            return
        shop = started_at(replace(shop, manifest=kept_up(shop.manifest), strict=True), self._wishes.starts)
        engine = await opened(
            self._stack, self._stops, self._settings, self._folder, lambda store: self._engine(shop, store)
        )
        if engine is None:
            return
        controls = self._controls(shop, engine)
        code = self._served_code(shop, self._reload(shop, engine), controls)
        self._greet(shop, engine)
        gc.collect()
        gc.freeze()  # as in `run`: a collection that looks at all that was imported stops the loop
        async with bulletin(self._settings, self._folder, shop.app, engine), self._keys(controls):
            self._tell_of_others(shop)
            try:
                await self._follow(code)
            finally:
                await controls.close()
                await self._stops.second_or(engine, self._settings.drain)

    async def _first_shop(self) -> Workshop | None:
        """What serves the target, once it can be loaded; None if a signal came first."""
        found: asyncio.Future[tuple[Workshop, Settings]] = asyncio.get_running_loop().create_future()
        code = FirstCode(
            self._settings,
            self._wishes.settings,
            self._folder,
            stack=self._stack,
            teller=self._teller,
            on_shop=found.set_result,
        )
        await self._follow(code, until=found)
        if not found.done():
            return None
        shop, self._settings = found.result()
        return shop

    async def _follow(self, code: Code, until: asyncio.Future[tuple[Workshop, Settings]] | None = None) -> None:
        """Load what changes, the first time now, until that is done or the first signal."""
        loads = Loads(code, self._slow)
        self._watching.on_change = loads.changed
        if until is not None:
            loads.changed(set())
        work = [asyncio.ensure_future(one) for one in (loads.run(), self._watching.run())]
        try:
            await self._stops.first_or(_first([*work, *([until] if until is not None else [])]))
        finally:
            for one in work:
                one.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _slow(self) -> None:
        text = "the code takes long to import, and is waited for; save it again to have it given up"
        self._teller.notice("slow", text, tone="warn")

    # -- what there is ------------------------------------------------------------------------------------------------

    def _watch(self) -> Watching:
        target = find_target(self._settings.target, self._folder)
        log = run_folder(self._settings.broker, self._folder)
        scope = Scope(Path(target.root), self._folder, never=[] if log is None else [log])

        def notice(text: str) -> None:
            self._teller.notice("watching", text, tone="warn")

        return Watching(scope, lambda _: None, notice)

    def _engine(self, shop: Workshop, store: Store) -> Engine:
        self._store = store
        return engine_of(shop, store, [self._teller, self._failures], watched=True)

    def _controls(self, shop: Workshop, engine: Engine) -> Controls:
        rerun = Rerun(engine, self._store, shop.app, atomic=is_embedded(self._settings.broker))
        controls = Controls(self._teller, self._failures, rerun, self._settings.broker, self._stops.stop)
        controls.functions = shop.manifest.functions
        return controls

    def _served_code(self, shop: Workshop, reload: Reload, controls: Controls) -> ServedCode:
        def served(manifest: Manifest) -> None:
            controls.functions = manifest.functions
            if self._wishes.rerun:
                controls.rerun(quietly=True)

        return ServedCode(shop, self._settings, reload, self._wishes.settings, teller=self._teller, on_served=served)

    def _reload(self, shop: Workshop, engine: Engine) -> Reload:
        async def reload(manifest: Manifest) -> Reloaded:
            plan = plan_of(replace(shop, manifest=manifest), self._store, watched=True)
            return await engine.reload(plan, self._settings.drain)

        return reload

    @asynccontextmanager
    async def _keys(self, controls: Controls) -> AsyncIterator[None]:
        if not self._wishes.keys:
            yield
            return
        keys = Keys(0, controls.pressed)
        if keys.open():
            self._teller.notice("help", SHORT_HELP)
        try:
            yield
        finally:
            keys.close()

    def _tell_of_others(self, shop: Workshop) -> None:
        """Whose attempts are not told here: of functions that another runtime serves on the same log."""
        ours = {one.name for one in shop.manifest.functions}
        for report in bulletins(self._settings, self._folder, shop.app):
            if report.pid != os.getpid() and (shared := sorted(ours & {one.function for one in report.functions})):
                text = f"{report.runtime} serves {', '.join(shared)} too: events that it gets are not shown here"
                self._teller.notice("shared", text, tone="warn", functions=shared)

    def _greet(self, shop: Workshop, engine: Engine) -> None:
        level, functions = isolation_level(), [one.spec for one in engine.subscriptions]
        self._teller.learn(functions)
        missing = f", without {', '.join(level.missing)}" if level.missing else ""
        self._teller.notice(
            "started",
            f"{shop.app} on {self._settings.broker}, isolation {level.name}{missing}",
            app=shop.app,
            broker=self._settings.broker,
            functions=[{"name": one.name, "topics": one.topics, "emits": list(one.emits)} for one in functions],
        )
        for one in functions:
            emits = f" -> {', '.join(one.emits)}" if one.emits else ""
            self._teller.notice("serving", f"{one.name}: {', '.join(one.topics)}{emits}", function=one.name)


async def _first(work: list[asyncio.Future[None] | asyncio.Future[tuple[Workshop, Settings]]]) -> None:
    """Wait for the first of these to end. Raises what it raised."""
    done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()
