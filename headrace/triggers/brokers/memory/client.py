"""The life of one client of a log in memory: a process that can be closed, killed, and frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from headrace.functions.errors import BrokerUnavailable
from headrace.runtime.ports import Clock
from headrace.triggers.brokers.memory.disk import Disk
from headrace.triggers.brokers.memory.faults import Crash, Faults, Step
from headrace.triggers.brokers.memory.group import Group, Seat
from headrace.triggers.brokers.memory.promoter import Promoter
from headrace.triggers.brokers.memory.watch import Watch


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the client's clock. A client that is dead or frozen for `session` is put out of its groups; so is a
    member whose handler takes `rebalance` for one call. A poll waits `idle` at most.
    """

    session: float = 45.0
    rebalance: float = 60.0
    idle: float = 1.0


class Client:
    """What all calls of a client go through. `seats` are its members and their groups, in the order they joined."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        faults: Faults,
        times: Times,
        *,
        name: str | None,
        on_kill: Callable[[], None],
    ) -> None:
        disk.clients += 1
        self.name = name or f"client{disk.clients}"
        self.disk = disk
        self.clock = clock
        self.faults = faults
        self.times = times
        self.watch = Watch(disk, clock)
        self.seats: dict[Seat, Group] = {}
        self.is_closed = self.is_killed = False
        self._on_kill = on_kill
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._thaw: asyncio.Event | None = None
        self._promoter = Promoter(disk, clock, lambda: self._thaw is not None)
        self._session_over: Callable[[], None] = lambda: None
        self._context = copy_context()

    def __repr__(self) -> str:
        return f"<Client {self.name}: {self.state}>"

    @property
    def state(self) -> str:
        """Whether it is `open`, `frozen`, `closed` or `killed`."""
        return "killed" if self.is_killed else "closed" if self.is_closed else "frozen" if self._thaw else "open"

    @property
    def is_open(self) -> bool:
        """Whether it is neither closed nor killed."""
        return not self.is_closed and not self.is_killed

    # -- calls ----------------------------------------------------------------------------------------------------

    async def turn(self, step: Step | None = None) -> None:
        """Give others a turn, wait while frozen, and begin `step`.

        Raises what `check` and `begin` raise.
        """
        await asyncio.sleep(0)
        await self.thawed()
        self.check()
        if step is not None:
            self.begin(step)

    def check(self) -> None:
        """Raise `BrokerUnavailable` if the client is closed, `Crash` if it was killed."""
        if self.is_killed:
            raise Crash(f"{self.name} was killed")
        if self.is_closed:
            raise BrokerUnavailable(f"the log {self.disk.cluster!r} is closed: open it again to use it")

    async def thawed(self) -> None:
        """Wait while the client is frozen."""
        while self._thaw is not None:
            await self._thaw.wait()

    def begin(self, step: Step) -> None:
        """Ask the faults before a step. Raises what they raise; `Crash` after killing the client."""
        if step.group and (wanted := self.faults.rebalance(step)) is not None:
            self.disk.group(step.group).rebalance(wanted)
        self.ask(self.faults.before, step)

    def ask(self, fault: Callable[[Step], None], step: Step) -> None:
        """Ask for one fault. Raises as `begin`."""
        try:
            fault(step)
        except Crash:
            self.kill()
            raise

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task of this client, which ends with it."""
        # In the client's own context, because a group's rebalance asks for it, and that is nobody's.
        task = asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    # -- ends -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End; members that did not leave are out at once, without being told."""
        if self.is_open:
            self.is_closed = True
            self._end()
            self.expire()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def kill(self, *, at_once: bool = False) -> None:
        """The process dies: nothing more of it is written, and its calls, also those under way, raise `Crash`.

        Its groups notice when its session is over, or `at_once`.
        """
        if not self.is_open:
            return
        self.is_killed = True
        if at_once:
            self.expire()
        elif self._thaw is None:  # a frozen client's session runs out already
            self._session_over = self._later(self.times.session, self.expire)
        self._end()
        self._on_kill()

    def expire(self) -> None:
        """The session is over: the groups put this client's members out."""
        self._session_over()
        for seat, group in list(self.seats.items()):
            group.evict(seat)

    def freeze(self) -> None:
        """The process stops: no call goes on, no heartbeat is sent, its session runs out."""
        if self._thaw is None and self.is_open:
            self._thaw = asyncio.Event()
            self._session_over = self._later(self.times.session, self.expire)

    def thaw(self) -> None:
        """The process goes on where it stopped, and knows nothing of what happened meanwhile."""
        if self._thaw is not None and self.is_open:
            self._session_over()
        self._wake()

    def _end(self) -> None:
        self.watch.close()
        self._promoter.close()
        for seat in self.seats:
            seat.ended()
        for task in self._tasks:
            task.cancel()
        self._wake()

    def _wake(self) -> None:
        if self._thaw is not None:
            self._thaw.set()
            self._thaw = None

    def _later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        return self.clock.call_at(self.clock.monotonic() + seconds, callback)
