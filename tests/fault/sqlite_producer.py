"""A process that appends and settles as fast as it can until it is killed, and says what was acknowledged.

Usage: sqlite_producer.py DB NAME. Prints `ready`; after a line on stdin, prints `a PARTITION OFFSET VALUE` for each
acknowledged append to `in`, and `s WATERMARK` for each acknowledged settlement, which emits one record to `out`.
"""

from __future__ import annotations

import asyncio
import sys
import uuid

from headrace.runtime.ports import Append, Settlement
from headrace.triggers.brokers.sqlite import SqliteLog


class Group:
    async def assigned(self, partitions):
        self.one = next(one for one in partitions if one.partition == ("in", 0))

    async def revoked(self, partitions):
        pass


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def append(log: SqliteLog, lane: str) -> None:
    for n in range(1_000_000):
        value = f"{lane}-{n}"
        pair = [Append("in", -1, 0, None, value.encode(), b""), Append("in", -1, 0, None, f"{value}+".encode(), b"")]
        for position, text in zip(await log.append(pair), (value, f"{value}+"), strict=True):
            say("a", position.partition, position.offset, text)


async def settle(log: SqliteLog, name: str) -> None:
    group = Group()
    await log.join(name, ["in"], group)
    for watermark in range((group.one.watermark or 0) + 1, 1_000_000):
        emit = Append("out", 0, 0, name.encode(), b"%d" % watermark, b"")
        await log.settle(Settlement(name, ("in", 0), group.one.epoch, watermark, b"%d" % watermark, [emit]))
        say("s", watermark)


async def main(path: str, name: str) -> None:
    say("ready")
    sys.stdin.readline()
    log = await SqliteLog.open(path)
    lane = uuid.uuid4().hex
    await asyncio.gather(settle(log, name), *(append(log, f"{name}-{lane}-{n}") for n in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
