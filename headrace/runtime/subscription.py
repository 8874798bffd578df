"""A subscription: one function being served.

It is a member of the function's consumer group, has a shard for each partition, and sees that what is fetched is handed
out and what is concluded is settled. All decisions are the shards'; here they meet the broker and the clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

import structlog

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.alarm import Alarm
from headrace.runtime.dispatch import Dispatch
from headrace.runtime.hooks import Hooks
from headrace.runtime.leftovers import Leftovers
from headrace.runtime.ports import Assigned, Clock, Member, Partition, Store
from headrace.runtime.progress import BadProgress
from headrace.runtime.retryfeed import RetryFeed
from headrace.runtime.settle import Settler, Told
from headrace.runtime.shard import Shard
from headrace.runtime.start import progress_at
from headrace.runtime.state import BROKER_AWAY, State, Status
from headrace.runtime.terms import Terms
from headrace.runtime.workers import RenewablePool
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.process import WorkerSpec
from headrace.sandbox.wire import Origin

FETCH = 1000
MOST_EVENTS = 4000  # of one partition, delivered and not ended
MOST_BYTES = 64 << 20  # of one function, likewise
# The parts of a rebalance that the steps of letting go may take: running out, being killed, settling.
_RUN_OUT, _BE_KILLED, _SETTLE = 0.6, 0.1, 0.2

_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0

log = structlog.get_logger("headrace")


class Load(NamedTuple):
    """Events held, in workers, and waiting for another attempt; and the workers there are."""

    held: int
    in_flight: int
    waiting: int
    workers: int


class Subscription:
    """Serves one function. `activity` counts changes, so that an observer can tell whether anything happened."""

    def __init__(
        self, spec: FunctionSpec, terms: Terms, store: Store, clock: Clock, hooks: Hooks, *, dice: random.Random
    ) -> None:
        self.spec = spec
        self.terms = terms
        self.status = Status(spec.name, hooks)
        self.activity = 0
        self.stopped: dict[Partition, str] = {}  # with the reason
        self._store = store
        self._clock = clock
        self._shards: dict[Partition, Shard] = {}
        self._settlers: dict[Partition, Settler] = {}
        self._throttled: dict[Partition, str | None] = {}  # with the reason, if it is more than load
        self._member: Member | None = None
        self._intake: asyncio.Task[None] | None = None
        self._fetch_trouble: BrokerError | None = None
        self._feed = RetryFeed(terms, store, clock)
        self._leftovers = Leftovers(clock, store.features.rebalance_s)
        self._alarm = Alarm(clock, self._moved)
        self._changed = asyncio.Event()
        self._draining = False
        self._held: str | None = None
        self.before_assigned: Callable[[], Awaitable[None]] | None = None
        self.dispatch = Dispatch(spec, self._shards, clock, hooks, moved=self._moved, dice=dice)

    # -- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Join the group and begin. The dispatch must have its pool."""
        await self.dispatch.pool.open()
        topics = [*self.spec.topics, *await self._feed.find()]
        self._member = await self._store.join(self.terms.group, topics, self, transactional=self.terms.exact)
        for partition, shard in self._shards.items():
            self._member.seek(partition, shard.progress.position)
        self._intake = asyncio.create_task(self._fetch(self._member), name=f"intake of {self.spec.name}")
        self._refresh()

    async def renew(self, spec: FunctionSpec, terms: Terms, worker: WorkerSpec) -> None:
        """Go on under new code and options, once a worker has them; those of before end what they run.

        Raises `HeadraceError` if no worker can serve them; then nothing has changed.
        """
        pool = self.dispatch.pool
        assert isinstance(pool, RenewablePool)
        fresh = await pool.try_out(worker)
        self.spec, self.terms = spec, terms
        for shard in self._shards.values():
            shard.renew(terms)
        self.dispatch.renew(spec)
        least, most = spec.workers
        pool.renew(worker, fresh, least=least, most=most, idle=spec.idle)
        self._moved()

    def hold(self, reason: str | None) -> None:
        """Stand still from now on: what runs ends, nothing more is fetched or handed out. With None: go on."""
        if reason != self._held:
            self._held = reason
            if reason is not None:
                self.dispatch.recall()
            self._moved()

    def look_for_retries(self) -> None:
        """Somebody else may have made a retry topic of this function: see soon."""
        self._feed.look_soon()

    def hasten(self, partition: Partition, offset: int) -> bool:
        """Have the event that lay first at this place tried again now; False if it does not wait in place here."""
        origin, now_ms = Origin(*partition, offset), self._clock.now_ms()
        found = any(shard.hasten(origin, now_ms) for shard in self._shards.values())
        self._moved()
        return found

    async def drain(self, budget_s: float) -> None:
        """Finish what runs within `budget_s` seconds, give the rest back uncharged, settle what is done."""
        await self._stop_intake()
        self.dispatch.recall()
        await self._until(lambda: not any(shard.in_flight for shard in self._shards.values()), budget_s)

    async def close(self, budget_s: float) -> None:
        """End all workers, settle what is known within `budget_s` seconds, and leave the group."""
        await self._stop_intake()
        await self.dispatch.pool.close(0.5)
        await self._sign_off(self._shards.values(), budget_s)
        self._alarm.set(None)
        await asyncio.gather(*(settler.close() for settler in self._settlers.values()))
        self._leftovers.clear()
        self._shards.clear()  # what leaving the group would sign off again
        self._settlers.clear()
        if self._member is not None:
            await self._member.leave()
        self.status.set(State.STOPPED, "")

    async def _stop_intake(self) -> None:
        self._draining = True
        if self._intake is not None:
            self._intake.cancel()
            await asyncio.gather(self._intake, return_exceptions=True)

    async def _until(self, condition: Callable[[], bool], budget_s: float) -> None:
        try:
            async with asyncio.timeout(budget_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # the budget is spent; the caller does what is left to do without

    # -- what the broker tells ------------------------------------------------------------------------------------

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        """Take partitions over where their progress says, or where a new group is to start."""
        if self.before_assigned is not None:
            await self.before_assigned()
        told = Told(self._feed.prepare, self._moved, self._trouble, self._fenced)
        for assigned in partitions:
            start = "earliest" if self._feed.is_retry(assigned.partition[0]) else self.spec.start
            try:
                progress = await progress_at(assigned, self.spec, self._store, start=start, exact=self.terms.exact)
            except BadProgress as error:
                self._stop(assigned.partition, error)
                continue
            shard = Shard(assigned, progress, self.terms)
            self._shards[assigned.partition] = shard
            if (left := self._leftovers.take(assigned)) is not None:
                shard.offer(left, self._clock.now_ms())
            self._settlers[assigned.partition] = settler = Settler(shard, self._store, told)
            settler.kick()
            if self._member is not None:
                self._member.pause([assigned.partition], paused=False)  # it may have been ours before, and full
                self._member.seek(assigned.partition, shard.progress.position)

    def _stop(self, partition: Partition, error: BadProgress) -> None:
        """Do not begin with a partition: what to repeat of it cannot be told."""
        topic, number = partition
        reason = (
            f"partition {number} of {topic!r} is stopped: {error}. To go on, move the group {self.terms.group!r} there "
            "to an offset from which repeating is right"
        )
        self.stopped[partition] = reason
        log.error("a partition is stopped", function=self.spec.name, topic=topic, partition=number, reason=str(error))

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Let go of partitions: when this returns, what ran has ended or been killed, and what is done is settled."""
        leaving = [self._shards[partition] for partition in partitions if partition in self._shards]
        whole_s = self._store.features.rebalance_s
        for shard in leaving:
            shard.retire()
        self.dispatch.recall()  # what has not started need not
        await self._until(lambda: not any(shard.in_flight for shard in leaving), _RUN_OUT * whole_s)
        if any(shard.in_flight for shard in leaving):
            self.dispatch.kill_holders(leaving)
            await self._until(lambda: not any(shard.in_flight for shard in leaving), _BE_KILLED * whole_s)
        await self._sign_off(leaving, _SETTLE * whole_s)
        for shard in leaving:
            if self._owns(shard) and (left := shard.leftover()) is not None:
                self._leftovers.keep(left)
        for partition in partitions:
            self._shards.pop(partition, None)
            self._throttled.pop(partition, None)
            self.stopped.pop(partition, None)
            if (settler := self._settlers.pop(partition, None)) is not None:
                await settler.close()
        self._moved()

    async def _sign_off(self, shards: Collection[Shard], budget_s: float) -> None:
        """Settle what is known, and that the owner left in order."""
        for shard in shards:
            shard.leave()
            if self._owns(shard):
                self._settlers[shard.partition].kick()
        await self._until(lambda: not any(shard.unsettled for shard in shards if self._can_settle(shard)), budget_s)

    def _can_settle(self, shard: Shard) -> bool:
        """Whether waiting for its settlement makes sense: not where the broker refuses it until somebody mends that."""
        if not self._owns(shard):
            return False
        trouble = self._settlers[shard.partition].trouble
        return trouble is None or isinstance(trouble, BrokerUnavailable)

    def _owns(self, shard: Shard) -> bool:
        """Whether the shard is still ours: it is not any more once it was fenced."""
        return self._shards.get(shard.partition) is shard

    # -- intake ---------------------------------------------------------------------------------------------------

    async def _fetch(self, member: Member) -> None:
        pause = _SHORTEST_PAUSE_S
        while True:
            try:
                await self._feed.follow(member, self.spec.topics)
                batch = await member.poll(FETCH)
            except Exception as error:  # noqa: BLE001  (nobody else would notice that nothing is fetched any more)
                self._fetch_trouble = _unforeseen(error)
                self._refresh()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            pause, self._fetch_trouble = _SHORTEST_PAUSE_S, None
            now_ms = self._clock.now_ms()
            for fetched in batch:
                if (shard := self._shards.get(fetched.partition)) is not None:  # else it was given up meanwhile
                    shard.offer(fetched, now_ms)
                    self._settlers[fetched.partition].kick()
            if batch:
                self._moved()

    def _throttle(self) -> None:
        """Pause partitions that hold enough, go on with those that have run half empty."""
        if self._member is None:
            return
        most_bytes = max(1 << 20, MOST_BYTES // max(1, len(self._shards)))
        for partition, shard in self._shards.items():
            load = max(shard.events / MOST_EVENTS, shard.bytes / most_bytes)
            full = self._held or shard.full
            if partition in self._throttled:
                if load < 0.5 and full is None:
                    del self._throttled[partition]
                    self._member.pause([partition], paused=False)
                else:
                    self._throttled[partition] = full
            elif load >= 1 or full is not None:
                self._throttled[partition] = full
                self._member.pause([partition], paused=True)

    # -- what follows from a change -------------------------------------------------------------------------------

    def _moved(self, shard: Shard | None = None) -> None:
        """Something changed: settle, release what is due, hand out what may run, and see how we stand."""
        self.activity += 1
        if shard is not None and (settler := self._settlers.get(shard.partition)) is not None:
            settler.kick()
        now_ms = self._clock.now_ms()
        due = [when for shard in self._shards.values() if (when := shard.wake(now_ms)) is not None]
        if not self._draining:
            self._throttle()
            if self._held is None:
                self.dispatch.hand_out()
                if (resumes_ms := self.dispatch.resumes_ms) is not None:
                    due.append(resumes_ms)
            for settler in self._settlers.values():  # a careful shard has a start to write down
                settler.kick()
        self._alarm.set(min(due, default=None))
        self._refresh()

    def _trouble(self, _shard: Shard) -> None:
        self._refresh()

    def _fenced(self, shard: Shard) -> None:
        topic, number = shard.partition
        log.warning("another runtime took the partition over", function=self.spec.name, topic=topic, partition=number)
        shard.retire()
        self.dispatch.kill_holders([shard])  # what still runs of it, its new owner runs too
        if self._owns(shard):
            del self._shards[shard.partition], self._settlers[shard.partition]
            self._throttled.pop(shard.partition, None)
        self._moved()

    # -- how it stands --------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether nothing is held, in flight or unsettled, here or in what a rebalance or a retry topic is to bring."""
        if self._feed.is_behind or (self._member is not None and not self._member.is_settled):
            return False
        return not any(shard.events or shard.unsettled for shard in self._shards.values())

    @property
    def watermarks(self) -> dict[Partition, int]:
        """Below which offset all is done, for each partition this runtime owns."""
        return {partition: shard.progress.watermark for partition, shard in self._shards.items()}

    @property
    def load(self) -> Load:
        """What it holds now, and the workers it has."""
        shards, workers = self._shards.values(), self.dispatch.pool.workers
        return Load(
            held=sum(shard.events for shard in shards),
            in_flight=sum(worker.in_flight for worker in workers),
            waiting=sum(shard.waiting for shard in shards),
            workers=len(workers),
        )

    def _refresh(self) -> None:
        self.status.set(*self._state())
        self._changed.set()

    def _state(self) -> tuple[State, str]:
        trouble = next((s.trouble for s in self._settlers.values() if s.trouble), self._fetch_trouble)
        if trouble is not None:
            away = isinstance(trouble, BrokerUnavailable)
            return (State.RETRYING, f"{BROKER_AWAY}{trouble}") if away else (State.PAUSED, str(trouble))
        pool, shards = self.dispatch.pool, self._shards.values()
        if (why := self._held or (None if pool.workers else pool.problem)) is not None:
            return State.PAUSED, why
        if any(shard.ready or shard.filling or shard.ready_alone or shard.in_flight for shard in shards):
            return State.RUNNING, ""
        waiting = sum(shard.waiting for shard in shards)
        if full := next((reason for reason in self._throttled.values() if reason), None):
            return State.WAITING_FULL, full
        if waiting:
            return State.RETRYING, f"{waiting} wait for another attempt"
        return (State.STOPPED, next(iter(self.stopped.values()))) if self.stopped else (State.IDLE, "")

    def __repr__(self) -> str:
        events = sum(shard.events for shard in self._shards.values())
        return f"<Subscription {self.spec.name}, {self.status!r}: {events} events held, {self.dispatch!r}>"


def _unforeseen(error: Exception) -> BrokerError:
    """An error of a fetch as one of the broker, whatever it was."""
    if isinstance(error, BrokerError):
        return error
    trouble = BrokerError(f"fetching failed unexpectedly: {error!r}; it is tried again")
    trouble.__cause__ = error
    log.error("fetching failed unexpectedly", exc_info=error)
    return trouble
