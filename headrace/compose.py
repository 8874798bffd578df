"""Composition: the only place that knows every room and puts them together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from headrace.functions.errors import SettingsError
from headrace.functions.names import meant
from headrace.runtime.bulletin import Bulletin, Report, read_reports
from headrace.runtime.clock import SystemClock
from headrace.runtime.dispatch import Dispatch
from headrace.runtime.engine import Engine
from headrace.runtime.hooks import hooks_of
from headrace.runtime.overrides import Overrides
from headrace.runtime.plan import Plan
from headrace.runtime.ports import Store, TopicSpec
from headrace.runtime.settings import Settings, app_of
from headrace.sandbox.manifest import FunctionSpec, Manifest
from headrace.sandbox.pool import Pool
from headrace.sandbox.process import WorkerSpec, Zygote
from headrace.sandbox.target import find_target
from headrace.sandbox.wire import Outlet, Target
from headrace.triggers.url import open_broker, run_folder


@dataclass(frozen=True, slots=True)
class Workshop:
    """A started zygote and what it read from the target: enough to run functions, with or without a broker.

    `topics` is what those are made with of which the settings say it. `strict`: workers run the code that the manifest
    was read from, and none that the files have come to hold since.
    """

    zygote: Zygote
    target: Target
    manifest: Manifest
    app: str
    topics: Mapping[str, TopicSpec]
    strict: bool = False


@asynccontextmanager
async def workshop(settings: Settings, folder: Path, zygote: Zygote | None = None) -> AsyncIterator[Workshop]:
    """Start a zygote, unless it was, and read the manifest, with the options that settings change.

    Raises `TargetError`, `DeclarationError` or `SettingsError` for the user to mend.
    """
    zygote = zygote or Zygote()
    try:
        target = find_target(settings.target, folder)
        app = app_of(settings, folder)
        await zygote.start()
        topics = {name: section.spec(name) for name, section in settings.topics.items()}
        manifest = Overrides(settings.defaults, settings.functions).applied(await zygote.read_manifest(target, app))
        yield Workshop(zygote, target, manifest, app, topics)
    finally:
        await zygote.close()


async def reread(shop: Workshop, settings: Settings) -> Workshop:
    """The workshop as its files, and the options in `settings`, are now. Raises what `workshop` raises."""
    manifest = await shop.zygote.read_manifest(shop.target, shop.app)
    return replace(shop, manifest=Overrides(settings.defaults, settings.functions).applied(manifest))


@asynccontextmanager
async def open_store(settings: Settings, folder: Path) -> AsyncIterator[Store]:
    """The broker of the settings, closed at the end."""
    store = await open_broker(settings.broker, root=folder, kafka=settings.kafka)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def shared_store(settings: Settings, folder: Path) -> AsyncIterator[Store]:
    """The same for what only makes sense where others are. Raises `SettingsError` for a log in memory."""
    if settings.broker == "memory:":
        raise SettingsError(
            "broker 'memory:' is a log that ends with the process it is in, so that there is nothing in it and nobody "
            "would read it: name the log that the runtime has, with --broker or HEADRACE_BROKER"
        )
    async with open_store(settings, folder) as store:
        yield store


@asynccontextmanager
async def bulletin(settings: Settings, folder: Path, app: str, engine: Engine) -> AsyncIterator[None]:
    """Tell what the engine does, for as long as this lasts, where the log is one of this host."""
    if (run := run_folder(settings.broker, folder)) is None:
        yield
        return
    told = Bulletin(run, app, engine.subscriptions, SystemClock())
    told.open()
    try:
        yield
    finally:
        await told.close()


def bulletins(settings: Settings, folder: Path, app: str) -> Sequence[Report]:
    """What the runtimes of the app last told; nothing on a broker elsewhere."""
    run = run_folder(settings.broker, folder)
    return [] if run is None else read_reports(run, app)


def worker_spec(
    shop: Workshop, function: FunctionSpec, cluster: str, outlets: dict[str, Outlet], *, timed: bool = False
) -> WorkerSpec:
    """How a worker of `function` is started. `timed`: it reports how long each event took.

    Raises `SettingsError` for a secret that is not there.
    """
    return WorkerSpec(
        target=shop.target,
        function=function,
        app=shop.app,
        cluster=cluster,
        environment=_environment(function),
        outlets=outlets,
        code=shop.manifest.code if shop.strict else None,
        timed=timed,
    )


def engine_of(
    shop: Workshop, store: Store, plugins: Sequence[object], *, watched: bool = False, cautious: bool = False
) -> Engine:
    """An engine that serves all functions of the workshop on `store`, observed by `plugins`.

    `watched`: they are told of every event, not only of those that did not simply succeed. `cautious`: see `Plan`.
    """
    plan = plan_of(shop, store, watched=watched, cautious=cautious)
    return Engine(plan, store, SystemClock(), hooks_of(*plugins))


def plan_of(shop: Workshop, store: Store, *, watched: bool = False, cautious: bool = False) -> Plan:
    """What an engine is to serve of the workshop on `store`, also in place of what it served before.

    Raises `SettingsError` for a secret that is not there.
    """
    check_environment(shop.manifest.functions)

    def worker(function: FunctionSpec, outlets: dict[str, Outlet]) -> WorkerSpec:
        return worker_spec(shop, function, store.cluster, outlets, timed=watched)

    def pool(function: FunctionSpec, outlets: dict[str, Outlet], dispatch: Dispatch) -> Pool:
        least, most = function.workers
        return Pool(
            shop.zygote,
            worker(function, outlets),
            dispatch,
            least=least,
            most=most,
            idle=function.idle,
            on_ready=dispatch.worker_ready,
            on_problem=dispatch.start_failed,
        )

    return Plan(shop.app, shop.manifest, pool, watched, cautious, obedient=True, topics=shop.topics, worker=worker)


def started_at(shop: Workshop, starts: Mapping[str, str]) -> Workshop:
    """The same workshop, its functions starting where `starts` says: "earliest", "latest" or an ISO 8601 time, by name.

    Raises `SettingsError` for a name that no function has.
    """
    functions = shop.manifest.functions
    if unknown := starts.keys() - {function.name for function in functions}:
        names = [function.name for function in functions]
        known, near = ", ".join(names), meant(min(unknown), names)
        raise SettingsError(f"--start {min(unknown)}=…: no function has that name{near}; there are: {known}")
    told = [msgspec.structs.replace(one, start=starts.get(one.name, one.start)) for one in functions]
    return replace(shop, manifest=msgspec.structs.replace(shop.manifest, functions=told))


def check_environment(functions: Sequence[FunctionSpec]) -> None:
    """Raise `SettingsError` for the first secret that is not there: it is told before anything starts."""
    for function in functions:
        _environment(function)


def _environment(function: FunctionSpec) -> dict[str, str]:
    if missing := [name for name in function.grants.secrets if name not in os.environ]:
        raise SettingsError(
            f"{function.file}:{function.line}: {function.name} needs the secret {missing[0]!r}, which is not in the "
            f"environment; set it: export {missing[0]}=…"
        )
    names = [*function.grants.secrets, *function.grants.env]
    return {name: os.environ[name] for name in names if name in os.environ}
