"""What goes wrong, told in errors of ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from headrace.functions.errors import BrokerError, BrokerUnavailable

_PASSING = {
    sqlite3.SQLITE_FULL: "the disk that holds {path} is full; nothing was written. Make room and try again",
    sqlite3.SQLITE_IOERR: (
        "reading or writing {path} failed ({error}); nothing was written. "
        "Check its disk: space, quota, file size limit (`ulimit -f`), hardware"
    ),
    sqlite3.SQLITE_NOMEM: "no memory left to read or write {path}; nothing was written",
    sqlite3.SQLITE_BUSY: (
        "another program keeps {path} locked; nothing was written. "
        "End what has it open for writing (an `sqlite3` shell?) and try again"
    ),
}
_PASSING[sqlite3.SQLITE_LOCKED] = _PASSING[sqlite3.SQLITE_BUSY]

_LASTING = {
    sqlite3.SQLITE_READONLY: "{path} is not writable for this user: change its owner or mode, or choose another path",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened: check that it and its directory are readable and writable",
    sqlite3.SQLITE_NOTADB: "{path} is not a headrace log, nor an SQLite file at all: choose another path",
    sqlite3.SQLITE_CORRUPT: (
        "{path} is damaged ({error}): stop all that uses it, keep a copy, and restore a backup "
        "or save what is left with `sqlite3 {path} .recover`"
    ),
}
_LASTING[sqlite3.SQLITE_PERM] = _LASTING[sqlite3.SQLITE_READONLY]


def is_environmental(error: BaseException) -> bool:
    """Whether the file or its disk is at fault, and not what was to be written."""
    return isinstance(error, sqlite3.Error) and (_code(error) in _PASSING or _code(error) in _LASTING)


def translated(error: sqlite3.Error, path: Path) -> BrokerError:
    """`error` as one of our tree, its cause chained: `BrokerUnavailable` where trying again may help."""
    code = _code(error)
    if code in _PASSING:
        ours: BrokerError = BrokerUnavailable(_PASSING[code].format(path=path, error=error))
    else:
        ours = BrokerError(
            _LASTING.get(code, "SQLite refused an operation on {path}: {error}").format(path=path, error=error)
        )
    ours.__cause__ = error
    return ours


def _code(error: sqlite3.Error) -> int:
    # Extended codes carry the primary one in their low byte. Errors of the Python module itself have none.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF
