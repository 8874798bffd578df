"""headrace: leads event streams to small Python functions.

The names a user writes against. They are imported on first use, so that the command line starts fast and a worker loads
only its own rooms.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.functions import (
        INHERIT,
        Batch,
        Breaker,
        BrokerError,
        BrokerUnavailable,
        Context,
        DeclarationError,
        Discard,
        EmitRefused,
        Event,
        HeadraceError,
        Reject,
        Retry,
        RetryAfter,
        Sandbox,
        SandboxError,
        SettingsError,
        TargetError,
        UnknownTopic,
        function,
    )
    from headrace.producer import Item, Log, Position, SyncLog, connect, connect_sync

__version__ = "0.1.0"

__all__ = [
    "INHERIT",
    "Batch",
    "Breaker",
    "BrokerError",
    "BrokerUnavailable",
    "Context",
    "DeclarationError",
    "Discard",
    "EmitRefused",
    "Event",
    "HeadraceError",
    "Item",
    "Log",
    "Position",
    "Reject",
    "Retry",
    "RetryAfter",
    "Sandbox",
    "SandboxError",
    "SettingsError",
    "SyncLog",
    "TargetError",
    "UnknownTopic",
    "connect",
    "connect_sync",
    "function",
]

_PRODUCERS = {"Item", "Log", "Position", "SyncLog", "connect", "connect_sync"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "headrace.producer" if name in _PRODUCERS else "headrace.functions"
    value = globals()[name] = getattr(import_module(room), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
