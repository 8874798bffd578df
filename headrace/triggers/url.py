"""Broker URLs: which broker, and where."""

from __future__ import annotations

from pathlib import Path

from headrace.functions.errors import SettingsError
from headrace.functions.identity import fresh_id
from headrace.runtime.clock import SystemClock
from headrace.runtime.ports import Store
from headrace.triggers.brokers.memory import Disk, MemoryLog
from headrace.triggers.brokers.sqlite import SqliteLog

DEFAULT = "sqlite:.headrace/log.db"

_KNOWN = "sqlite:PATH (the embedded log), memory: (a log that ends with this process)"


async def open_broker(url: str, *, root: Path | None = None) -> Store:
    """The broker at `url`, opened. The path of `sqlite:PATH` is relative to `root`, else to the current directory.

    `memory:` is a new log each time. Raises `SettingsError` for a URL that names no broker, `BrokerError` for one that
    cannot be opened.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise SettingsError(f"broker {url!r} has no scheme; known: {_KNOWN}. For a file write 'sqlite:{url}'")
    if scheme == "kafka":
        raise SettingsError(f"broker {url!r}: Kafka is not built yet in this version; use {_KNOWN}")
    if scheme == "memory":
        if rest:
            raise SettingsError(f"broker {url!r}: a log in memory has no name or path; write 'memory:'")
        return MemoryLog(Disk(cluster=fresh_id()), SystemClock())
    if scheme != "sqlite":
        raise SettingsError(f"broker {url!r}: unknown scheme {scheme!r}; known: {_KNOWN}")
    return await SqliteLog.open((root or Path.cwd()) / _path(url, rest))


def is_embedded(url: str) -> bool:
    """Whether `url` names a log of our own, which makes a topic at its first event."""
    return url.startswith(("sqlite:", "memory:"))


def _path(url: str, rest: str) -> Path:
    if rest.startswith("//"):  # read differently by every library that takes them
        path = rest.lstrip("/") or "PATH"
        raise SettingsError(
            f"broker {url!r}: the path follows the colon: 'sqlite:{path}' relative to here, or 'sqlite:/{path}'"
        )
    if not rest or rest == ":memory:":
        raise SettingsError(f"broker {url!r} names no file: write sqlite:PATH, for example {DEFAULT}")
    return Path(rest).expanduser()
