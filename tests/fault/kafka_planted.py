"""`headrace` with defects planted: kafka_planted.py NAME... -- COMMAND...

`told` and `brisk` are none: the first has the runtime log each change of a function's state, the second shortens its
patience. The defects wait a little where a kill is to find them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.__main__ import main
from headrace.runtime import state
from headrace.runtime.progress import Progress
from headrace.triggers.brokers.kafka import member
from headrace.triggers.brokers.kafka.claims import Claim, Claims
from headrace.triggers.brokers.kafka.link import Link
from headrace.triggers.brokers.kafka.log import KafkaLog
from headrace.triggers.brokers.kafka.mark import Mark
from headrace.triggers.brokers.kafka.transactor import Transactor

_WINDOW_S = 0.1


def told() -> None:
    """Every state with its reason is a line of the log, and every assignment."""
    assigned = member.KafkaMember.told_assigned

    async def telling_of_partitions(self: Any, partitions: Any) -> None:
        await assigned(self, partitions)
        _say({"event": "assigned", "group": self.group, "partitions": sorted(partitions)})

    member.KafkaMember.told_assigned = telling_of_partitions
    original = state.Status.set

    def telling(self: Any, new: Any, reason: str) -> None:
        if (new, reason) != (self.state, self.reason):
            _say({"event": "state", "function": self._function, "state": new.value, "reason": reason})
        original(self, new, reason)

    state.Status.set = telling


def brisk() -> None:
    """Calls and what is known of topics are given up sooner than an operator can have it."""
    original = KafkaLog.open.__func__  # the plain function of the class method

    async def opened(cls: Any, settings: Any) -> Any:
        return await original(cls, replace(settings, timeout_s=4.0, metadata_max_age_s=1.0))

    KafkaLog.open = classmethod(opened)


def commit_before_publish() -> None:
    """Progress is committed, and then what was emitted is published."""

    async def settle(self: Any, claim: Any, settlement: Any) -> None:
        mark = Mark.of(settlement.watermark, settlement.progress)
        await claim.member.committer.commit(claim.membership, claim.partition, mark)
        await asyncio.sleep(_WINDOW_S)
        if settlement.appends:
            await self.append(settlement.appends)

    KafkaLog._settle = settle


def plain_commit() -> None:
    """What is emitted is published in a transaction, and progress is committed beside it."""
    transact, make = Transactor._transact, Claims.make
    made: dict[Any, Claim] = {}

    class Beside:
        """A producer without offsets in its transactions."""

        def __init__(self, producer: Any) -> None:
            self._producer = producer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        async def send_offsets_to_transaction(self, _offsets: Any, _group: str) -> None: ...

    async def beside(self: Any, producer: Any, mark: Mark, appends: Any) -> Any:
        ends = await transact(self, Beside(producer), mark, appends)
        await asyncio.sleep(_WINDOW_S)
        if not (claim := made[self]).is_over:
            await claim.member.committer.commit(claim.membership, claim.partition, mark)
        return ends

    def noted(self: Any, *arguments: Any) -> Claim:
        claim = make(self, *arguments)
        made[claim.transactor] = claim
        return claim

    Transactor._transact = beside
    Claims.make = noted


def epoch_unchecked() -> None:
    """Whoever was fenced takes the transactional id back, and nobody asks the group who owns what."""

    async def not_written(self: Any, _mark: Mark) -> bool:
        await self.open()
        return False

    async def confirmed(_self: Any) -> bool:
        return True

    Transactor._is_written = not_written
    Link.confirm = confirmed


def map_dropped() -> None:
    """What is done beyond the watermark is not written down."""
    encode = Progress.encode

    def without_map(self: Any) -> bytes:
        kept, self._start_to_end = self._start_to_end, {}
        try:
            return encode(self)
        finally:
            self._start_to_end = kept

    Progress.encode = without_map


PLANTS: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (told, brisk, commit_before_publish, plain_commit, epoch_unchecked, map_dropped)
}


def _say(line: Mapping[str, Any]) -> None:
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    until = sys.argv.index("--")
    for name in sys.argv[1:until]:
        PLANTS[name]()
    sys.argv[1 : until + 1] = []
    main()
