"""Who reads: the members of groups that are alive, as far as can be told by one who is none."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headrace.triggers.brokers.sqlite.pulse import boot_id, is_dead, path_of

_MEMBERS = "SELECT grp, id, topics, beat, session, boot, host, pid FROM member ORDER BY grp, id"


class Reading(NamedTuple):
    """A member, what it subscribes to, and the process it is in."""

    group: str
    topics: tuple[str, ...]
    process: str


def readers(execute: Callable[[str], sqlite3.Cursor], run: Path) -> list[Reading]:
    """The members of all groups. `run` is the log's run directory."""
    now_ms, boot = time.monotonic_ns() // 1_000_000, boot_id()
    found = []
    for group, member, topics, beat, session, its_boot, host, pid in execute(_MEMBERS).fetchall():
        if its_boot != boot or is_dead(run, member):
            continue
        if now_ms - beat > session and not path_of(run, member).exists():
            continue  # nothing left to tell by but its beats, and they have ceased
        found.append(Reading(group, tuple(json.loads(topics)), f"process {pid} on {host}"))
    return found
