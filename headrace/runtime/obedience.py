"""Obedience: a runtime follows what operators want of its functions, from before the first event on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.functions.errors import BrokerError
from headrace.runtime.control import ControlReader, control_spec
from headrace.runtime.ports import Store
from headrace.runtime.subscription import Subscription

_LOOK_S = 0.5


class Obedience:
    """Reads the control topic and tells the subscriptions what follows for them."""

    def __init__(self, store: Store, app: str, subscriptions: Sequence[Subscription]) -> None:
        self._store = store
        self._app = app
        self._subscriptions = subscriptions
        self._reader = ControlReader(store, app)
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read to the end, so that nothing is begun that is to stand still, and follow from there on."""
        await self._store.ensure([control_spec(self._app)])
        await self._look()
        for subscription in self._subscriptions:
            subscription.before_assigned = self.look
        self._task = asyncio.create_task(self._follow(), name="following the control topic")

    async def look(self) -> None:
        """Take in what was said up to now, as far as the broker tells it."""
        try:
            await self._look()
        except BrokerError:  # subscriptions say so, and it is tried again soon
            return

    async def close(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        async with self._turn:
            known = set(self._reader.control.letters)
            await self._reader.catch_up()
            control = self._reader.control
            for subscription in self._subscriptions:
                subscription.hold(control.why_paused(subscription.spec.name))
                if control.letters.keys() - known:  # a redrive may have made a retry topic
                    subscription.look_for_retries()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    def __repr__(self) -> str:
        return f"<Obedience: {self._reader!r}>"
