"""What is on the log: topics with their sizes, groups with their progress. Reads alone."""

from __future__ import annotations

import sqlite3

from headrace.runtime.ports import Bounds, Lag, TopicInfo
from headrace.triggers.brokers.sqlite.topics import spec_of

_TOPICS = "SELECT name, parts, conf, start, next, bytes FROM topic JOIN part ON topic = id ORDER BY name, p"
_LAG = """
SELECT grp, name, p, off, next, meta FROM coff JOIN part USING (tp) JOIN topic ON topic = id
WHERE substr(grp, 1, length(?1)) = ?1 ORDER BY grp, name, p
"""


def topics(connection: sqlite3.Connection) -> dict[str, TopicInfo]:
    """All topics by name, in the order of their names."""
    found: dict[str, TopicInfo] = {}
    for name, parts, conf, start, end, size in connection.execute(_TOPICS).fetchall():
        before = found.get(name)
        bounds = [*(before.bounds if before else ()), Bounds(start, end)]
        found[name] = TopicInfo(name, bounds, size + (before.bytes if before else 0), spec_of(name, parts, conf))
    return found


def lag(connection: sqlite3.Connection, prefix: str) -> list[Lag]:
    """The progress of all groups whose names begin with `prefix`."""
    rows = connection.execute(_LAG, (prefix,)).fetchall()
    return [Lag(group, (topic, p), off, end, meta) for group, topic, p, off, end, meta in rows]
