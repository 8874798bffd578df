"""`headrace` with times of the test's choice on the embedded log: sqlite_planted.py NAME[=VALUE]... -- COMMAND...

`session=S` and `rebalance=S` are seconds. Each assignment and each revocation is a line of the log. Defects: `mourning`
notices no death, `stubborn=FILE` does not give partitions up before that file is there.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.__main__ import main
from headrace.runtime.subscription import Subscription
from headrace.triggers.brokers.sqlite import pulse
from headrace.triggers.brokers.sqlite.heart import Times
from headrace.triggers.brokers.sqlite.log import SqliteLog
from headrace.triggers.brokers.sqlite.membership import Membership
from headrace.triggers.brokers.sqlite.vigil import Vigil


def told() -> None:
    """What the group tells is logged, before the runtime is told of a revocation, and after it knows an assignment."""
    give, gain = Membership._give, Membership._gain

    async def giving(self: Any, tps: Any) -> None:
        _say("revoked", sorted(self._held[tp].partition for tp in tps))
        await give(self, tps)

    async def gaining(self: Any, gained: Any) -> None:
        await gain(self, gained)
        _say("assigned", sorted(one.partition for one in gained.values()))

    Membership._give, Membership._gain = giving, gaining


def timed(**seconds: float) -> None:
    """Members have these times."""
    original = SqliteLog.open.__func__  # the plain function of the class method

    async def opened(cls: Any, path: Any) -> Any:
        return await original(cls, path, times=Times(**seconds))

    SqliteLog.open = classmethod(opened)


def mourning() -> None:
    """Nobody looks whether others live."""
    pulse.is_dead = lambda _folder, _member: False
    Vigil.watch = lambda _self, _members: None


def stubborn(file: str) -> None:
    """What is revoked is held on to, and worked on."""
    revoked = Subscription.revoked

    async def holding_on(self: Any, partitions: Any) -> None:
        while not Path(file).exists():  # noqa: ASYNC110  (another process makes it)
            await asyncio.sleep(0.02)
        await revoked(self, partitions)

    Subscription.revoked = holding_on


def plant(given: Mapping[str, str]) -> None:
    """All that is given."""
    told()
    timed(**{name: float(given[name]) for name in ("session", "rebalance") if name in given})
    if "mourning" in given:
        mourning()
    if "stubborn" in given:
        stubborn(given["stubborn"])


def _say(event: str, partitions: list[tuple[str, int]]) -> None:
    line = {"event": event, "partitions": [number for _, number in partitions], "at": time.monotonic()}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    until = sys.argv.index("--")
    plant(dict(argument.partition("=")[::2] for argument in sys.argv[1:until]))
    sys.argv[1 : until + 1] = []
    main()
