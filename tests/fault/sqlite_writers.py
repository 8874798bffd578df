"""A process that writes to a log with others, one record per commit.

Usage: sqlite_writers.py DB NAME COMMITS PAGES OPENS. Opens the log once, prints `ready`, waits for a line, and
writes until there are COMMITS commits of its own (0: until stdin ends), opening the log anew OPENS times on the way;
checkpoints come every PAGES pages (0: as ever). Prints how many commits it made.
"""

from __future__ import annotations

import asyncio
import sys
import threading

from headrace.runtime.ports import Append
from headrace.triggers.brokers.sqlite import SqliteLog, files


async def write(path: str, name: str, commits: int, opens: int, over: threading.Event) -> int:
    count = 0
    for time in range(1, opens + 1):
        log = await SqliteLog.open(path)
        while not over.is_set() and count < commits * time // opens:
            await log.append([Append("t", -1, 0, b"%d" % count, name.encode() + bytes(count % 700), b"")])
            count += 1
        await log.close()
    return count


async def open_once(path: str) -> None:
    """What takes time at first: the imports, the libraries, a look at the log."""
    await (await SqliteLog.open(path)).close()


def main(path: str, name: str, commits: str, pages: str, opens: str) -> None:
    if int(pages):
        # Small checkpoints, and nothing waits for the disk: many more chances to go wrong in a second.
        files._DURABLE = f"PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint={pages};"
    over = threading.Event()
    asyncio.run(open_once(path))
    print("ready", flush=True)
    sys.stdin.readline()
    if commits == "0":
        threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    print(asyncio.run(write(path, name, int(commits) or 1 << 40, int(opens), over)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
