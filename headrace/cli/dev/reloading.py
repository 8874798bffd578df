"""What an engine offers to have other code served, found where it has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.cli.dev.code import Reload
from headrace.functions.errors import SandboxError
from headrace.runtime.engine import Engine
from headrace.sandbox.manifest import Manifest


@dataclass(frozen=True, slots=True)
class _Loaded:
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    resubscribed: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


def reload_of(engine: Engine) -> Reload:
    """How this engine reloads."""
    reload: Reload | None = getattr(engine, "reload", None)
    return _only_loaded if reload is None else reload


async def _only_loaded(manifest: Manifest) -> _Loaded:
    if not manifest.functions:
        raise SandboxError("there is nothing to serve")
    return _Loaded(failed={one.name: "restart to serve what was loaded" for one in manifest.functions})
