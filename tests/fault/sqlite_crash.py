"""Does one thing to a log and dies just before the N-th statement of its writer, if there are so many.

With 0 it dies after the commit, before anybody knows. For each line `DB settle|append|promote|open N` on stdin it forks
a process that does it, and prints `done` if that came to the end, else `died`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from typing import Any

from headrace.runtime.ports import Append, Settlement, Ticket
from headrace.triggers.brokers.sqlite import SqliteLog
from headrace.triggers.brokers.sqlite.bells import COMMIT, Ringer
from headrace.triggers.brokers.sqlite.delayed import next_due
from headrace.triggers.brokers.sqlite.transaction import Transaction

FAR_MS = 4_000_000_000_000


class Countdown:
    def __init__(self, left: int) -> None:
        self.left = left
        self.armed = False

    def __call__(self, *_: object) -> None:
        self.left -= self.armed
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Group:
    async def assigned(self, partitions):
        self.partitions = {one.partition: one for one in partitions}

    async def revoked(self, partitions):
        pass


def emits(n: int) -> list[Append]:
    return [Append("out", p, 0, None, b"%d" % n, b"", 0) for p in range(2)] + [
        Append("out", 0, 0, None, b"%d" % n, b"", FAR_MS)
    ]


def arm_within(name: str, countdown: Countdown) -> None:
    """Count from where this is gathered: what else the client writes meanwhile is none of it."""
    gather = getattr(Transaction, name)

    def armed(self: Transaction, *arguments: Any) -> Any:
        countdown.armed = True
        return gather(self, *arguments)

    setattr(Transaction, name, armed)


async def settle(log: SqliteLog, countdown: Countdown) -> None:
    group = Group()
    await log.join("app.f", ["in"], group)
    one = group.partitions["in", 0]
    number = (one.watermark or 0) + 1
    arm_within("settle", countdown)
    await log.settle(Settlement("app.f", ("in", 0), one.epoch, number, b"%d" % number, emits(number)))


async def append(log: SqliteLog, countdown: Countdown) -> None:
    """As a producer does that goes on under its old id: the same ticket until it knows the answer."""
    arm_within("append", countdown)
    await log.append(emits(1), ticket=Ticket("p", 1, 0))


async def promote(log: SqliteLog, countdown: Countdown) -> None:
    countdown.armed = True
    while await log._reader.do(next_due) is not None:
        await log.changed(60)


async def main(path: str, action: str, n: str) -> None:
    countdown = Countdown(int(n) or sys.maxsize)
    countdown.armed = action == "open"
    connect, ring = sqlite3.connect, Ringer.ring

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(countdown)
        return connection

    def killed(self: Ringer, what: bytes = COMMIT) -> None:
        if n == "0" and countdown.armed:
            os.kill(os.getpid(), signal.SIGKILL)
        ring(self, what)

    sqlite3.connect, Ringer.ring = traced, killed
    log = await SqliteLog.open(path)
    for connection in (log._files.reader, log._files.watch):
        connection.set_trace_callback(None)
    if action != "open":
        await globals()[action](log, countdown)
    countdown.armed = False
    await log.close()


def forked(words: list[str]) -> int:
    if (child := os.fork()) == 0:
        os.dup2(2, 1)  # what it logs is no answer
        asyncio.run(main(*words))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for line in sys.stdin:
        code = forked(line.split())
        print({0: "done", -signal.SIGKILL: "died"}.get(code, code), flush=True)
