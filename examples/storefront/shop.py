"""The shop's own database, shop/shop.db, and how an event changes it exactly once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

FILE = Path("shop/shop.db")  # a worker's current folder is the target's

TABLES = (
    "stock (sku TEXT PRIMARY KEY, left INTEGER NOT NULL)",
    "parcel (order_id TEXT PRIMARY KEY, charged REAL, cancelled INTEGER DEFAULT 0, refunded INTEGER DEFAULT 0)",
    "handled (function TEXT, event TEXT, led_to TEXT NOT NULL, PRIMARY KEY (function, event))",
)


def once(function: str, event_id: str, result: type[M], change: Callable[[sqlite3.Connection], list[M]]) -> list[M]:
    """What `change` gave when `function` handled this event for the first time, which may be now.

    Its rows, the event's id and what it gave are one transaction: after a crash all are there, or none. A repeat
    changes nothing, and gives what the first time gave, because that may never have been published.
    """
    with transaction() as rows:
        found = rows.execute(
            "SELECT led_to FROM handled WHERE (function, event) = (?, ?)", (function, event_id)
        ).fetchone()
        if found is not None:
            return [result.model_validate(one) for one in json.loads(found[0])]
        given = change(rows)
        led_to = json.dumps([one.model_dump() for one in given])
        rows.execute("INSERT INTO handled VALUES (?, ?, ?)", (function, event_id, led_to))
        return given


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """The database, for one transaction. Writers of other processes wait for it."""
    connection = sqlite3.connect(FILE, timeout=20, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # what was not committed is rolled back
