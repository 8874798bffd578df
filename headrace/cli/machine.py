"""What `headrace doctor` looks at on this machine: versions, limits, clock, isolation."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "warning", "failed"]

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_FIRST_SANE_S = 1_767_225_600  # 2026-01-01: before this version was written
_FEW_FILES, _MANY_FILES = 128, 1024
_LITTLE_MEMORY = 512 << 20

_ISOLATION_REMEDY = {
    "files (Landlock)": "not built yet: keep secrets out of files that this user can read",
    "network and system calls (seccomp)": "not built yet: bound the network of the container or host",
    "own user (uid drop)": "not built yet: run headrace as a user of its own",
    "CPU share and size of the temporary folder": "not built yet: bound both for the container or service",
}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, whether it will do, what was found, and what to do about it if it will not."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def machine() -> Iterator[Check]:
    """All checks that need neither settings nor a broker."""
    yield _python()
    yield _sqlite(sqlite3.sqlite_version_info)
    yield Check("Kafka client", "ok", f"aiokafka {version('aiokafka')}")
    yield _isolation()
    yield _clock()
    yield _open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield _memory()


def _python() -> Check:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    if sys.platform != "linux":
        return Check("Python", "failed", found, "workers need Linux: use a container or a virtual machine")
    return Check("Python", "ok", found)


def _sqlite(version_info: tuple[int, ...]) -> Check:
    found = f"SQLite {'.'.join(map(str, version_info))}"
    if version_info < (3, 37):
        return Check("SQLite", "failed", found, "the embedded log needs 3.37 or newer: use a newer Python build")
    if not _is_mended(version_info):
        found += ", which has the WAL-reset bug: headrace keeps clear of it, other programs that open the log may not"
        remedy = "open the log with nothing but headrace while it is in use, or take SQLite 3.51.3 (3.50.7, 3.44.6)"
        return Check("SQLite", "warning", found, remedy)
    return Check("SQLite", "ok", found)


def _is_mended(version_info: tuple[int, ...]) -> bool:
    """Up to 3.51.2 a log can be damaged if one process commits while another checkpoints; two older lines are not."""
    if version_info[:2] in {(3, 44), (3, 50)}:
        return version_info >= {44: (3, 44, 6), 50: (3, 50, 7)}[version_info[1]]
    return version_info >= (3, 51, 3)


def _isolation() -> Check:
    from headrace.sandbox.policy import isolation_level  # noqa: PLC0415

    level = isolation_level()
    found = f"level {level.name!r}: {', '.join(level.in_force)}"
    if not level.missing:
        return Check("isolation", "ok", found)
    remedy = "; ".join(f"{one}: {_ISOLATION_REMEDY.get(one, 'see the reference')}" for one in level.missing)
    return Check("isolation", "warning", f"{found}; missing: {', '.join(level.missing)}", remedy)


def _clock() -> Check:
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    if time.time() < _FIRST_SANE_S:
        return Check(
            "clock", "failed", now, "the clock is in the past: set it; times of events and retries depend on it"
        )
    if _is_unsynchronised():
        return Check("clock", "warning", f"{now}, not synchronised", "run an NTP service (chrony, systemd-timesyncd)")
    return Check("clock", "ok", now)


def _is_unsynchronised() -> bool:
    """What the kernel says of its clock; False where it says nothing."""
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))) == _TIME_ERROR
    except (OSError, AttributeError):
        return False


def _open_files(soft: int, hard: int) -> Check:
    found = f"ulimit -n is {_limit(soft)} (at most {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < _MANY_FILES:
        verdict: Verdict = "failed" if soft < _FEW_FILES else "warning"
        return Check("open files", verdict, found, f"ulimit -n {_MANY_FILES}, or LimitNOFILE= of the service")
    return Check("open files", "ok", found)


def _memory() -> Check:
    free = available_memory()
    found = f"{free >> 20} MiB available"
    if free < _LITTLE_MEMORY:
        return Check(
            "memory", "warning", found, "a worker may take 512 MiB by default: give more, or set sandbox.memory"
        )
    return Check("memory", "ok", found)


def available_memory() -> int:
    """The bytes that can still be had: of the machine, or of the control group if that is less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None else min(free, limit - (used or 0))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _limit(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else str(number)
