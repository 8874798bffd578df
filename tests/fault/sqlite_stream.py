"""A process that writes transactions of known contents until it is killed. Usage: sqlite_stream.py DB.

Transaction n appends `n` to n % 5 + 1 offsets of `t` 0 and one of `t` 1, and settles watermark n, in one settlement.
"""

from __future__ import annotations

import asyncio
import sys

from headrace.runtime.ports import Append, Settlement, TopicSpec
from headrace.triggers.brokers.sqlite import SqliteLog


class Group:
    async def assigned(self, partitions):
        self.partitions = {one.partition: one for one in partitions}

    async def revoked(self, partitions):
        pass


async def main(path: str) -> None:
    log = await SqliteLog.open(path)
    await log.ensure([TopicSpec("in", 1), TopicSpec("t", 2)])
    group = Group()
    await log.join("app.f", ["in"], group)
    epoch = group.partitions["in", 0].epoch
    for n in range(1, 1_000_000):
        appends = [Append("t", 0, 0, None, b"%d" % n, bytes(n % 900))] * (n % 5 + 1) + [
            Append("t", 1, 0, None, b"%d" % n, b"")
        ]
        await log.settle(Settlement("app.f", ("in", 0), epoch, n, b"%d" % n, appends))
        print(n, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
