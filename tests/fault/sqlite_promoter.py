"""Two processes that only have a log open, and so bring what is due into its topic. Usage: sqlite_promoter.py DB.

Prints `ready`; for each line `0` or `1` on stdin kills that one, starts it anew, and prints `ready` again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from headrace.triggers.brokers.sqlite import SqliteLog


async def promote(path: str, ready: int) -> None:
    _log = await SqliteLog.open(path)
    os.write(ready, b".")
    await asyncio.Event().wait()


def start(path: str) -> int:
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        asyncio.run(promote(path, tell))
    os.close(tell)
    assert os.read(told, 1) == b"."
    os.close(told)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main(path: str) -> None:
    children = [start(path), start(path)]
    print("ready", flush=True)
    for line in sys.stdin:
        kill(children[int(line)])
        children[int(line)] = start(path)
        print("ready", flush=True)
    for child in children:
        kill(child)


if __name__ == "__main__":
    main(*sys.argv[1:])
