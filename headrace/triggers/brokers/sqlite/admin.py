"""What is on the log: topics with their sizes, groups with their progress. Reads alone."""

from __future__ import annotations

import sqlite3

from headrace.runtime.ports import Bounds, Lag, TopicInfo
from headrace.triggers.brokers.sqlite.conf import spec_of

_TOPICS = "SELECT name, parts, conf, start, next, bytes FROM topic JOIN part ON topic = id ORDER BY name, p"
_LAG = """
SELECT grp, name, p, off, next, meta, start, lost FROM coff JOIN part USING (tp) JOIN topic ON topic = id
WHERE substr(grp, 1, length(?)) = ? ORDER BY grp, name, p
"""


def topics(connection: sqlite3.Connection) -> dict[str, TopicInfo]:
    """All topics by name, in the order of their names."""
    found: dict[str, list[tuple[int, str, int, int, int]]] = {}
    for name, *row in connection.execute(_TOPICS).fetchall():
        found.setdefault(name, []).append(tuple(row))
    return {name: _info(name, rows) for name, rows in found.items()}


def lag(connection: sqlite3.Connection, prefix: str) -> list[Lag]:
    """The progress of all groups whose names begin with `prefix`."""
    rows = connection.execute(_LAG, (prefix, prefix)).fetchall()
    return [
        Lag(group, (topic, p), off, end, meta, start, lost) for group, topic, p, off, end, meta, start, lost in rows
    ]


def _info(name: str, rows: list[tuple[int, str, int, int, int]]) -> TopicInfo:
    parts, conf, *_ = rows[0]
    spec = spec_of(name, parts, conf)
    sizes = [size for *_, size in rows]
    bounds = [Bounds(start, end) for _, _, start, end, _ in rows]
    return TopicInfo(name, bounds, sum(sizes), spec, spec.max_bytes, sizes)
