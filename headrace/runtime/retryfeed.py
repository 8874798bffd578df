"""The retry feed: the retry topics of one function on its broker, made at their first record and then followed."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.ports import Clock, Member, Settlement, Store
from headrace.runtime.terms import Terms

_LOOK_S = 30.0


class RetryFeed:
    """Which retry topics there are, and which of them this member follows.

    All that exist are followed, also by a function that defers nothing any more: what lies in them is still to come.
    """

    def __init__(self, terms: Terms, store: Store, clock: Clock) -> None:
        self._terms = terms
        self._store = store
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._there: set[str] = set()
        self._followed: set[str] = set()

    async def find(self) -> Sequence[str]:
        """The topics there are, to be followed from the start."""
        await self._look()
        self._followed = set(self._there)
        return sorted(self._there)

    async def prepare(self, settlement: Settlement) -> None:
        """See that the retry topics are there to which this settlement appends. Raises `BrokerError`."""
        if not self._terms.aside or (retries := self._terms.retries) is None:
            return
        needed = retries.tiers.keys() & {append.topic for append in settlement.appends}
        if missing := sorted(needed - self._there):
            await self._store.ensure([retries.spec(topic) for topic in missing])
            self._there |= needed

    async def follow(self, member: Member, topics: Sequence[str]) -> None:
        """Have the member subscribe to what is new, beside its own `topics`. Raises `BrokerError`.

        Now and then it looks for what others made: they may be gone before anybody else defers to that tier.
        """
        if self._clock.monotonic() - self._looked_at >= _LOOK_S:
            await self._look()
        if self.is_behind:
            there = set(self._there)
            await member.subscribe([*topics, *sorted(there)])
            self._followed = there

    def look_soon(self) -> None:
        """Look for new topics at the next turn."""
        self._looked_at = -_LOOK_S

    async def _look(self) -> None:
        self._looked_at = self._clock.monotonic()
        if self._terms.retries is not None:
            self._there |= set(await self._store.topics(self._terms.retries.tiers.keys()))

    def is_retry(self, topic: str) -> bool:
        """Whether this is one of the function's retry topics."""
        return topic in self._there

    @property
    def is_behind(self) -> bool:
        """Whether there is a topic that is not followed yet."""
        return self._there != self._followed

    def __repr__(self) -> str:
        return f"<RetryFeed: {len(self._there)} topics, {len(self._followed)} followed>"
