"""Broker URLs: which broker, and where."""

from __future__ import annotations

import os
import re
from pathlib import Path

from headrace.functions.errors import SettingsError
from headrace.functions.identity import fresh_id
from headrace.runtime.clock import SystemClock
from headrace.runtime.ports import Store
from headrace.runtime.sections import KafkaSection
from headrace.triggers.brokers.memory import Disk, MemoryLog
from headrace.triggers.brokers.sqlite import SqliteLog, run_folder_of
from headrace.triggers.hint import hint, servers

DEFAULT = "sqlite:.headrace/log.db"

_KNOWN = (
    "sqlite:PATH (the embedded log), kafka://HOST:PORT[,HOST:PORT] (Apache Kafka), memory: (a log that ends with this "
    "process)"
)


async def open_broker(url: str, *, root: Path | None = None, kafka: KafkaSection | None = None) -> Store:
    """The broker at `url`, opened. Paths, as in `sqlite:PATH`, are relative to `root`, else to the current directory.

    `kafka` says how a Kafka cluster is reached and used, its address apart. `memory:` is a new log each time. Raises
    `SettingsError` for a URL that names no broker or for a wrong setting, `BrokerError` for one that cannot be opened.
    """
    root = root or Path.cwd()
    scheme, _, rest = url.partition(":")
    if scheme == "kafka":
        return await _open_kafka(_bootstrap(url, rest), kafka or KafkaSection(), root)
    if scheme == "memory":
        if rest:
            raise SettingsError(f"broker {url!r}: a log in memory has no name or path; write 'memory:'")
        return MemoryLog(Disk(cluster=fresh_id()), SystemClock())
    if scheme != "sqlite":
        raise SettingsError(f"broker {without_password(url)!r} is no URL of a broker{hint(url)}; those are: {_KNOWN}")
    return await SqliteLog.open(_whole(root, _path(url, rest)))


def is_embedded(url: str) -> bool:
    """Whether `url` names a log of our own, which makes a topic at its first event."""
    return url.startswith(("sqlite:", "memory:"))


def path_of(url: str, *, root: Path | None = None) -> Path:
    """Where the embedded log at `url` lies, without links. Raises `SettingsError` for a broker that is none."""
    scheme, _, rest = url.partition(":")
    if scheme != "sqlite":
        raise SettingsError(
            f"broker {without_password(url)!r} is not the embedded log, which alone is a file that can be backed up, "
            "checked and compacted here: a Kafka cluster has tools of its own for that"
        )
    return _whole(root or Path.cwd(), _path(url, rest))


def log_file(url: str, root: Path) -> Path | None:
    """The file of the log at `url`; None for one that is elsewhere. Raises `SettingsError` for a URL without one."""
    scheme, _, rest = url.partition(":")
    return _whole(root, _path(url, rest)) if scheme == "sqlite" else None


def run_folder(url: str, root: Path) -> Path | None:
    """Where the log at `url` keeps what lives only as long as those who use it; None for one that is elsewhere."""
    path = log_file(url, root)
    return None if path is None else run_folder_of(path)


def without_password(url: str) -> str:
    """The URL as it may be shown: whoever tries to put a password there is not to see it in a log."""
    shown = re.sub(r"//[^/]*@", "//…@", url)
    return shown if shown.startswith("sqlite:") else re.sub(r"^[^/]*@", "…@", shown)


def _whole(root: Path, path: Path) -> Path:
    return Path(os.path.realpath(root / path))  # `Path.resolve` raises where links lead in a circle


async def _open_kafka(bootstrap: str, section: KafkaSection, root: Path) -> Store:
    # Only who uses Kafka pays for loading its client.
    from headrace.triggers.brokers.kafka import KafkaLog, settings_of  # noqa: PLC0415

    return await KafkaLog.open(settings_of(section, bootstrap, root))


def _bootstrap(url: str, rest: str) -> str:
    if not rest.startswith("//") or not (hosts := servers(rest)):
        raise SettingsError(
            f"broker {without_password(url)!r} names no Kafka cluster{hint(url)}: write kafka://HOST:PORT[,HOST:PORT], "
            "for example kafka://localhost:9092; user, password and TLS are settings, not part of the URL"
        )
    return hosts


def _path(url: str, rest: str) -> Path:
    if rest.startswith("//"):  # read differently by every library that takes them
        raise SettingsError(
            f"broker {url!r}: the path follows the colon{hint(url)}: sqlite:PATH, relative to here or not"
        )
    if not rest or rest == ":memory:" or "\0" in rest:
        raise SettingsError(f"broker {url!r} names no file: write sqlite:PATH, for example {DEFAULT}")
    try:
        return Path(rest).expanduser()
    except RuntimeError as error:
        home = rest.partition("/")[0]
        raise SettingsError(
            f"broker {url!r}: the home folder {home} is not known here: write the whole path"
        ) from error
