"""What is known of a function by its name: from the target, if there is one, and from the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.runtime.ports import Store
    from headrace.runtime.settings import Settings
    from headrace.sandbox.manifest import FunctionSpec


class Known(NamedTuple):
    """A function of an app: its declaration where a target has it, and its topics, retry topics left out."""

    app: str
    name: str
    spec: FunctionSpec | None
    topics: Sequence[str]


async def declared(settings: Settings) -> Sequence[FunctionSpec]:
    """The functions of the target here; none if there is no target, or one that does not load."""
    from headrace.compose import workshop  # noqa: PLC0415
    from headrace.functions.errors import DeclarationError, SandboxError, TargetError  # noqa: PLC0415

    try:
        async with workshop(settings, Path.cwd()) as shop:
            return shop.manifest.functions
    except (DeclarationError, TargetError, SandboxError):
        return ()


async def known(settings: Settings, store: Store, name: str) -> Known:
    """The function of that name. Raises `SettingsError` if neither the target nor the log knows one."""
    from headrace.functions.errors import SettingsError  # noqa: PLC0415
    from headrace.functions.names import group_of, meant  # noqa: PLC0415
    from headrace.runtime.retrytopic import retry_topics_of  # noqa: PLC0415
    from headrace.runtime.settings import app_of  # noqa: PLC0415

    app = app_of(settings, Path.cwd())
    specs = {spec.name: spec for spec in await declared(settings)}
    lags = await store.lag(f"{app}.")
    groups = {lag.group for lag in lags}
    if name not in specs and group_of(app, name) not in groups:
        names = sorted({*specs, *(group.removeprefix(f"{app}.") for group in groups)})
        raise SettingsError(
            f"the app {app!r} has no function {name!r} here, nor progress of one{meant(name, names)}; "
            f"there are: {', '.join(names) or 'none'}"
        )
    spec = specs.get(name)
    settled = [lag.partition[0] for lag in lags if lag.group == group_of(app, name)]
    retries = retry_topics_of(app, name)
    topics = dict.fromkeys([*(spec.topics if spec else ()), *(topic for topic in settled if topic not in retries)])
    return Known(app, name, spec, list(topics))
