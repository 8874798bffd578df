"""A second SQLite library in the process, which would drop the locks of the first: refused when it has the log open."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

UNLOADABLE = 77

# Another copy of the library is another library to the loader, with lists of locks of its own, as apsw's is.
SCRIPT = """
import asyncio, ctypes, sys
from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite import SqliteLog

path, copy = sys.argv[1:]

async def use():
    log = await SqliteLog.open(path)
    await log.close()

asyncio.run(use())
try:
    other = ctypes.CDLL(copy)
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(77)
asyncio.run(use())
print("loaded is fine")
handle = ctypes.c_void_p()
assert other.sqlite3_open(path.encode(), ctypes.byref(handle)) == 0
assert other.sqlite3_exec(handle, b"SELECT count(*) FROM meta", None, None, None) == 0
try:
    asyncio.run(use())
except BrokerError as error:
    print(error)
assert other.sqlite3_close(handle) == 0
asyncio.run(use())
print("closed is fine")
"""


def library() -> Path | None:
    """The shared library that Python's module is linked to, if it is one."""
    sqlite3.connect(":memory:").close()
    lines = Path("/proc/self/maps").read_text().splitlines() if Path("/proc/self/maps").exists() else []
    return next((Path(line.split(maxsplit=5)[5]) for line in lines if "/libsqlite3.so" in line), None)


def test_a_log_open_in_another_library_is_refused_and_one_that_is_only_loaded_is_not(tmp_path: Path) -> None:
    if (original := library()) is None:
        pytest.skip("this Python has SQLite within it: there is no library to copy")
    copy = tmp_path / "libsqlite3-other.so"
    shutil.copy(original, copy)
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "log.db"), str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if said.returncode == UNLOADABLE:
        pytest.skip(f"a copy of the library cannot be loaded: {said.stderr}")
    assert said.returncode == 0, said.stderr
    first, refusal, last = said.stdout.splitlines()
    assert (first, last) == ("loaded is fine", "closed is fine")
    assert "is open in this process through another SQLite library" in refusal
    assert "libsqlite3-other.so" in refusal
    assert "close it there first" in refusal
