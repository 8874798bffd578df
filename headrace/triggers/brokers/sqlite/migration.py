"""From the tables of an older version to those of this one, in place.

One transaction, within the turnstile: whoever dies in the middle leaves the older version. A process of the older
version that has the file open meanwhile goes on with what it knows (columns are only added), and its groups are fenced.
"""

from __future__ import annotations

import sqlite3

# From each version to the next.
_STEPS = {
    1: [
        "ALTER TABLE coff ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE own ADD COLUMN since INTEGER",
    ],
}

_DROP = ["DROP TABLE member", "DROP TABLE producer"]

# No member is known any more. Epochs stay: the next claim raises them, as ever.
_DISOWN = "UPDATE own SET owner = NULL, wanted = NULL"


def migrate(connection: sqlite3.Connection, target: int, passing: str) -> None:
    """Bring the file up to version `target`, and make the tables of `passing` anew (a script).

    To be called within the turnstile, outside a transaction.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(_version(connection), target, passing):
            connection.execute(statement)
        connection.execute("UPDATE meta SET v = ? WHERE k = 'schema'", (target,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("SELECT v FROM meta WHERE k = 'schema'").fetchone()
    return int(version)


def _statements(version: int, target: int, passing: str) -> list[str]:
    steps = [statement for older in range(version, target) for statement in _STEPS[older]]
    # One by one, because a script would commit first.
    made = [statement for statement in passing.split(";") if statement.strip()]
    return [*_DROP, *steps, *made, _DISOWN]
