"""The code of a target: loaded beside what is served, compared with it, and served in its place."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace.cli.dev.scope import Kind
from headrace.cli.dev.settling import Found
from headrace.cli.dev.teller import Teller
from headrace.cli.dev.trace import near
from headrace.compose import Workshop, check_environment, workshop
from headrace.functions.errors import DeclarationError, HeadraceError, SettingsError, TargetError
from headrace.runtime.overrides import Overrides
from headrace.runtime.reload import Changes, Reloaded
from headrace.runtime.settings import Settings
from headrace.sandbox.manifest import Manifest

_LIVE = {"defaults", "functions", "drain"}
_FOR_EVER_S = 366 * 86_400.0


Reload = Callable[[Manifest], Awaitable[Reloaded]]
"""Serves a manifest in place of the one before. Raises `HeadraceError`, having touched nothing, if it cannot."""


class FirstCode:
    """The code before anything is served; implements `Code`.

    `on_shop` is called with what serves it, and the settings it was loaded with.
    """

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        folder: Path,
        *,
        stack: AsyncExitStack,
        teller: Teller,
        on_shop: Callable[[tuple[Workshop, Settings]], None],
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._folder = folder
        self._stack = stack
        self._teller = teller
        self._on_shop = on_shop
        self._shop: Workshop | None = None
        self._error = ""
        self._told = ""

    async def load(self, kinds: AbstractSet[Kind]) -> Found:
        """See `Code.load`."""
        if self._shop is not None:  # loaded before, and something changed meanwhile
            self._shop = None
            await self._stack.pop_all().aclose()
        try:
            if Kind.SETTINGS in kinds:
                self._take(self._reread())
            self._shop = await self._stack.enter_async_context(workshop(self._settings, self._folder))
        except SettingsError as error:
            if not self._told:  # wrong from the start: there is nothing to wait for
                raise
            self._error = str(error)
            return Found.BROKEN
        except (DeclarationError, TargetError) as error:
            self._error = str(error)
            return Found.BROKEN
        return Found.READY

    def _take(self, settings: Settings) -> None:
        if settings.target != self._settings.target:  # other files than are watched
            _tell_restart(self._teller, ["target"])
        self._settings = settings.model_copy(update={"target": self._settings.target})

    async def serve(self) -> None:
        """See `Code.serve`."""
        assert self._shop is not None
        self._on_shop((self._shop, self._settings))

    def tell(self, found: Found) -> None:
        """See `Code.tell`."""
        if found is Found.BROKEN and self._error != self._told:
            self._told = self._error
            text = f"{near(self._error)}\nnothing is served yet: mend it and save"
            self._teller.notice("broken", text, tone="bad", error=self._error, serving_since=None)


class ServedCode:
    """The code while an older one is served, with `settings`; implements `Code`.

    `on_served` is called after each reload.
    """

    def __init__(
        self,
        shop: Workshop,
        settings: Settings,
        reload: Reload,
        reread: Callable[[], Settings],
        *,
        teller: Teller,
        on_served: Callable[[Manifest], None],
    ) -> None:
        self._shop = shop
        self._reload = reload
        self._reread = reread
        self._settings = settings
        self._teller = teller
        self._on_served = on_served
        self._served = self._loaded = shop.manifest
        self._since = datetime.now().astimezone()
        self._began_s = 0.0
        self._error = ""
        self._broken = ""  # the error that was told, until it is mended

    async def load(self, kinds: AbstractSet[Kind]) -> Found:
        """See `Code.load`."""
        self._began_s = time.monotonic()
        try:
            settings = self._reread() if Kind.SETTINGS in kinds else self._settings
            self._check_live(settings)
            read = await self._shop.zygote.read_manifest(self._shop.target, self._shop.app)
            self._loaded = kept_up(Overrides(settings.defaults, settings.functions).applied(read))
            check_environment(self._loaded.functions)
        except HeadraceError as error:
            self._error = str(error)
            return Found.BROKEN
        self._settings = settings
        return compared(self._served, self._loaded, kinds)

    async def serve(self) -> None:
        """See `Code.serve`."""
        try:
            done = await self._reload(self._loaded)
        except HeadraceError as error:
            self._error = str(error)
            self.tell(Found.BROKEN)
            return
        self._served, self._since = self._loaded, datetime.now().astimezone()
        self._teller.learn(self._served.functions)
        self._tell_reloaded(done, round((time.monotonic() - self._began_s) * 1000))
        self._broken = ""
        self._on_served(self._served)

    def tell(self, found: Found) -> None:
        """See `Code.tell`."""
        since = f"{self._since:%H:%M:%S}"
        if found is Found.BROKEN and self._error != self._broken:
            self._broken = self._error
            text = f"{near(self._error)}\nstill serving the code of {since}"
            self._teller.notice("broken", text, tone="bad", error=self._error, serving_since=self._since.isoformat())
        elif found is Found.SAME and self._broken:
            self._broken = ""
            self._teller.notice("mended", f"mended: it is again the code of {since}, which serves", tone="good")

    def _check_live(self, settings: Settings) -> None:
        """Say which settings need a restart."""
        old, new = self._settings.model_dump(exclude=_LIVE), settings.model_dump(exclude=_LIVE)
        if changed := [name for name in new if new[name] != old[name]]:
            _tell_restart(self._teller, changed)

    def _tell_reloaded(self, done: Reloaded, took_ms: int) -> None:
        told = {
            "new": done.added,
            "removed": done.removed,
            "subscribed anew": done.resubscribed,
            "new code": done.renewed,
        }
        well = {what: [name for name in names if name not in done.failed] for what, names in told.items()}
        changes = "; ".join(f"{what}: {', '.join(names)}" for what, names in well.items() if names)
        how = "mended and reloaded" if self._broken else "reloaded"
        if done.failed and not changes:
            how = "not reloaded"
        fields: dict[str, Any] = {
            "added": list(done.added),
            "removed": list(done.removed),
            "resubscribed": list(done.resubscribed),
            "renewed": list(done.renewed),
            "failed": dict(done.failed),
            "duration_ms": took_ms,
        }
        self._teller.notice(
            "reload",
            f"{how} in {took_ms} ms{f'  {changes}' if changes else ''}",
            tone="warn" if done.failed else "good",
            **fields,
        )
        if done.added:
            names, gets = ", ".join(done.added), "gets" if len(done.added) == 1 else "get"
            since = "from now on, or from where an earlier run under that name got to"
            hint = f"for older ones stop, then: headrace reset {done.added[0]} --to earliest"
            self._teller.notice("hint", f"{names} {gets} events {since}; {hint}")
        for name, reason in done.failed.items():
            self._teller.notice("failed", f"{name}: {_left(name, done)}: {near(reason)}", tone="bad", function=name)

    def __repr__(self) -> str:
        return f"<ServedCode of {self._since:%H:%M:%S}, {len(self._served.functions)} functions>"


def _left(name: str, done: Reloaded) -> str:
    """What a function that could not be served anew is left with."""
    begun = {*done.added, *done.resubscribed}
    return "it is not served until the next save" if name in begun else "its old code still serves"


def _tell_restart(teller: Teller, names: Sequence[str]) -> None:
    teller.notice("settings", f"restart to have {', '.join(names)} as the settings say now", tone="warn")


def kept_up(manifest: Manifest) -> Manifest:
    """The manifest with a worker of each function that stays: while the files are broken no other can be started."""
    functions = [
        msgspec.structs.replace(one, workers=(max(1, one.workers[0]), one.workers[1]), idle=_FOR_EVER_S)
        for one in manifest.functions
    ]
    return msgspec.structs.replace(manifest, functions=functions)


def compared(served: Manifest, loaded: Manifest, kinds: AbstractSet[Kind]) -> Found:
    """What `loaded` is beside what is served, after changes of these kinds.

    Where code or what is installed changed it is served even if it looks the same: a handler may import when it runs.
    """
    if Changes.between(served.functions, loaded.functions).interrupts:
        return Found.DRASTIC
    if kinds - {Kind.SETTINGS} or msgspec.structs.asdict(served) != msgspec.structs.asdict(loaded):
        return Found.READY
    return Found.SAME
