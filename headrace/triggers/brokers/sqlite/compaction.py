"""Compaction: of the records of one key the last one stays, of those with `cleanup="compact"`.

From the end to the beginning: a record goes only while a later one of its key is there. A record without value is a
tombstone. It stays for a time, so that readers learn of it, and goes after all that it buries. Offsets keep gaps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from headrace.triggers.brokers.sqlite.bench import Bench
from headrace.triggers.brokers.sqlite.retention import ROWS, SIZE, Store, Trimmed

TOMBSTONES_MS = 24 * 3_600_000
"""How long tombstones stay after they were appended: Kafka's default."""

_WORTH = 100  # fewer new records than that are not worth a pass
_PAGE = 1000
_BACKWARDS = f"""
SELECT id, ats, k, v IS NULL, {SIZE} FROM record WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT {_PAGE}
"""  # noqa: S608
_AFTER = """
INSERT INTO meta(k, v) SELECT ?, ? WHERE EXISTS (SELECT 1 FROM part WHERE tp = ?)
ON CONFLICT(k) DO UPDATE SET v = excluded.v
"""


class _Row(NamedTuple):
    id: int
    ats: int
    key: bytes | None
    is_tombstone: int
    size: int


class Pass(NamedTuple):
    """The last pass over a partition: up to which offset, what it left, when its next tombstone may go (ms)."""

    end: int = 0
    left: int = 0
    due_ms: int | None = None


def is_overdue(bench: Bench, store: Store, now_ms: int) -> bool:
    """Whether a pass is worth it: half of the records are new, or a tombstone has stayed long enough."""
    if "compact" not in store.spec.cleanup:
        return False
    last = _last(bench, store)
    return store.end - last.end >= max(last.left, _WORTH) or (last.due_ms is not None and last.due_ms <= now_ms)


def compact(
    bench: Bench,
    store: Store,
    now_ms: int,
    tell: Callable[[int], None] = lambda _: None,
    *,
    tombstones_ms: int = TOMBSTONES_MS,
) -> Trimmed:
    """Make one pass over what the partition has now; `tell` is called with the records deleted by each slice.

    Records without a key stay: nothing says which of them is the last.
    """
    graves: list[_Row] = []
    left, due_ms, records, size = 0, None, 0, 0
    for page in _pages(bench, store):
        superseded, kept = _sorted_out(bench, page)
        records, size = records + len(superseded), size + sum(row.size for row in superseded)
        for row in kept:
            left += 1
            if row.is_tombstone and row.key is not None:
                if row.ats + tombstones_ms <= now_ms:
                    graves.append(row)
                else:
                    due_ms = min(due_ms or row.ats + tombstones_ms, row.ats + tombstones_ms)
        _delete(bench, store, superseded, tell)
    _delete(bench, store, graves, tell)  # last: else a pass that is cut short would bring back what they bury
    done = Pass(store.end, left - len(graves), due_ms)
    with bench.slice() as connection:
        connection.execute(_AFTER, (_name(store), json.dumps(done), store.tp))
    return Trimmed(records + len(graves), size + sum(row.size for row in graves))


def _pages(bench: Bench, store: Store) -> Iterator[list[_Row]]:
    """All records from the last to the first; the keys seen so far are in a table, for there may be many."""
    bench.note("DROP TABLE IF EXISTS temp.seen")
    bench.note("CREATE TEMP TABLE seen(k BLOB PRIMARY KEY) WITHOUT ROWID")
    before = store.base + store.end
    while rows := [_Row(*row) for row in bench.read(_BACKWARDS, (store.base, before))]:
        yield rows
        before = rows[-1].id
    bench.note("DROP TABLE temp.seen")


def _sorted_out(bench: Bench, page: Sequence[_Row]) -> tuple[list[_Row], list[_Row]]:
    """The records of a page of which a later one is there, and the others; their keys are seen now."""
    superseded, kept = [], []
    fresh: set[bytes] = set()
    for row in page:
        key = row.key
        if key is not None and (key in fresh or bench.read("SELECT 1 FROM temp.seen WHERE k = ?", (key,))):
            superseded.append(row)
            continue
        kept.append(row)
        if key is not None:
            fresh.add(key)
    if fresh:
        bench.note("INSERT INTO temp.seen(k) VALUES (?)", [(key,) for key in fresh])
    return superseded, kept


def _delete(bench: Bench, store: Store, rows: Sequence[_Row], tell: Callable[[int], None]) -> None:
    for at in range(0, len(rows), ROWS):
        some = rows[at : at + ROWS]
        with bench.slice() as connection:
            connection.executemany("DELETE FROM record WHERE id = ?", [(row.id,) for row in some])
            size = sum(row.size for row in some)
            connection.execute("UPDATE part SET bytes = bytes - ? WHERE tp = ?", (size, store.tp))
        tell(len(some))


def _last(bench: Bench, store: Store) -> Pass:
    found = bench.read("SELECT v FROM meta WHERE k = ?", (_name(store),))
    return Pass(*json.loads(found[0][0])) if found else Pass()


def _name(store: Store) -> str:
    return f"compacted:{store.tp}"
