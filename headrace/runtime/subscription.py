"""A subscription: one function being served.

It fetches on the function's behalf, hands chunks to its workers, takes their outcomes and has them settled. All
decisions are the shards'; here they meet the broker, the pool and the clock.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.runtime.blame import outcomes_of
from headrace.runtime.hooks import Hooks
from headrace.runtime.pacing import Pacing
from headrace.runtime.ports import Assigned, Clock, Member, Partition, Store
from headrace.runtime.progress import BadProgress, Progress
from headrace.runtime.settle import Settler, Told
from headrace.runtime.shard import Result, Shard, Terms
from headrace.runtime.state import State, Status
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.pool import Pool
from headrace.sandbox.process import Death, Line, Worker
from headrace.sandbox.wire import Report

FETCH = 500
MOST_EVENTS = 2000  # of one partition, delivered and not ended
MOST_BYTES = 64 << 20  # of one function, likewise
CHUNK_BYTES = 1 << 20

log = structlog.get_logger("headrace")
_chunk_ids = itertools.count(1)


class Subscription:
    """Serves one function: a member of its consumer group, a pool of workers, and a shard for each partition."""

    def __init__(self, spec: FunctionSpec, terms: Terms, store: Store, clock: Clock, hooks: Hooks) -> None:
        self.spec = spec
        self.terms = terms
        self.pool: Pool
        self.activity = 0
        self._store = store
        self._clock = clock
        self._hooks = hooks
        self._member: Member | None = None
        self._shards: dict[Partition, Shard] = {}
        self._settlers: dict[Partition, Settler] = {}
        self._paused: set[Partition] = set()
        self._flights: dict[int, dict[int, Shard]] = {}
        self._pacing = Pacing()
        self._intake: asyncio.Task[None] | None = None
        self._cancel_timer: Callable[[], None] = lambda: None
        self._timer_ms: int | None = None
        self._fetch_trouble: BrokerError | None = None
        self._changed = asyncio.Event()
        self._draining = False
        self._status = Status(spec.name, hooks)

    # -- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Join the group and begin. The pool must be set."""
        await self.pool.open()
        self._member = await self._store.join(self.terms.group, self.spec.topics, self)
        for partition, shard in self._shards.items():
            self._member.seek(partition, shard.progress.position)
        self._intake = asyncio.create_task(self._fetch(self._member), name=f"intake of {self.spec.name}")
        self._refresh()

    async def drain(self, budget_s: float) -> None:
        """Finish what runs within `budget_s` seconds, give the rest back uncharged, settle what is done."""
        await self.stop_intake()
        for worker in self.pool.workers:
            worker.recall()
        await self._until(lambda: not any(shard.in_flight for shard in self._shards.values()), budget_s)

    async def close(self, budget_s: float) -> None:
        """End all workers, settle what is known within `budget_s` seconds, and leave the group."""
        await self.stop_intake()
        await self.pool.close(0.5)
        for settler in self._settlers.values():
            settler.kick()
        await self._until(lambda: not any(shard.unsettled for shard in self._shards.values()), budget_s)
        self._cancel_timer()
        await asyncio.gather(*(settler.close() for settler in self._settlers.values()))
        if self._member is not None:
            await self._member.leave()
        self._status.set(State.STOPPED, "")

    async def stop_intake(self) -> None:
        """Fetch nothing more and hand nothing more out."""
        self._draining = True
        if self._intake is not None:
            self._intake.cancel()
            await asyncio.gather(self._intake, return_exceptions=True)

    # -- what the broker tells ------------------------------------------------------------------------------------

    async def assigned(self, partitions: Sequence[Assigned]) -> None:
        """Take partitions over where their progress says, or where a new group is to start."""
        for assigned in partitions:
            shard = Shard(assigned, await self._progress_of(assigned), self.terms)
            told = Told(self._on_settled, self._on_trouble, self._on_fenced)
            self._shards[assigned.partition] = shard
            self._settlers[assigned.partition] = Settler(shard, self._store, told)
            self._settlers[assigned.partition].kick()
            if self._member is not None:
                self._member.seek(assigned.partition, shard.progress.position)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Let go of partitions; nothing of theirs runs any more when this returns."""
        for partition in partitions:
            self._shards.pop(partition, None)
            if (settler := self._settlers.pop(partition, None)) is not None:
                await settler.close()

    async def _progress_of(self, assigned: Assigned) -> Progress:
        if assigned.watermark is None:
            return Progress(await self._start_of(assigned))
        try:
            progress = Progress.restore(assigned.watermark, assigned.progress)
        except BadProgress as error:
            log.warning("progress cannot be read; replaying from the watermark", **self._about(assigned, error))
            progress = Progress(assigned.watermark)
        if progress.watermark < assigned.bounds.start:
            lost = assigned.bounds.start - progress.watermark
            log.warning("events were deleted before this function saw them", lost=lost, **self._about(assigned))
            progress = Progress(assigned.bounds.start)
        return progress

    async def _start_of(self, assigned: Assigned) -> int:
        match self.spec.start or "earliest":
            case "earliest":
                return assigned.bounds.start
            case "latest":
                return assigned.bounds.end
            case moment:
                timestamp_ms = round(datetime.fromisoformat(moment).timestamp() * 1000)
                return await self._store.offset_at(assigned.partition, timestamp_ms)

    def _about(self, assigned: Assigned, error: Exception | None = None) -> dict[str, object]:
        topic, partition = assigned.partition
        about: dict[str, object] = {"function": self.spec.name, "topic": topic, "partition": partition}
        return about | ({"error": str(error)} if error else {})

    # -- intake ---------------------------------------------------------------------------------------------------

    async def _fetch(self, member: Member) -> None:
        pause = 0.05
        while True:
            try:
                batch = await member.poll(FETCH)
            except BrokerUnavailable as error:
                self._fetch_trouble = error
                self._refresh()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                continue
            pause, self._fetch_trouble = 0.05, None
            now_ms = self._clock.now_ms()
            for fetched in batch:
                shard = self._shards[fetched.partition]
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
            full = max(shard.events / MOST_EVENTS, shard.bytes / most_bytes)
            if full >= 1 and partition not in self._paused:
                self._paused.add(partition)
                self._member.pause([partition], paused=True)
            elif full < 0.5 and partition in self._paused:
                self._paused.discard(partition)
                self._member.pause([partition], paused=False)

    # -- handing out ----------------------------------------------------------------------------------------------

    def _moved(self) -> None:
        """Something changed: release what is due, hand out what may run, and see how we stand."""
        self.activity += 1
        self._changed.set()
        self._wake()
        if not self._draining:
            self._throttle()
            self._hand_out()
        self._refresh()

    def _hand_out(self) -> None:
        ready = [shard for shard in self._shards.values() if shard.ready]
        random.shuffle(ready)  # no partition is always the first
        while ready:
            worker = self._free_worker()
            if worker is None:
                self.pool.demand()
                return
            shard = ready.pop()
            chunk = shard.take(next(_chunk_ids), self._pacing.size, CHUNK_BYTES)
            if chunk is not None:
                self._flights.setdefault(worker.id, {})[chunk.id] = shard
                worker.send(chunk)
            if shard.ready:
                ready.insert(0, shard)

    def _free_worker(self) -> Worker | None:
        """The worker with the fewest chunks, if it has room for another."""
        workers = self.pool.workers
        if not workers:
            return None
        worker = min(workers, key=lambda w: len(self._flights.get(w.id, ())))
        depth = 1 if len(workers) + self.pool.starting < self.spec.workers[1] else self._pacing.depth
        return worker if len(self._flights.get(worker.id, ())) < depth else None

    def worker_ready(self, _worker: Worker) -> None:
        """A worker can take chunks."""
        self._moved()

    # -- what workers tell ----------------------------------------------------------------------------------------

    def reported(self, worker: Worker, report: Report) -> None:
        """Outcomes came back."""
        flights = self._flights[worker.id]
        shard = flights[report.chunk]
        results = shard.report(report.chunk, report.outcomes, now_ms=self._clock.now_ms(), draw=random.random)
        if not shard.flies(report.chunk):
            del flights[report.chunk]
        self._pacing.observe(len(report.outcomes), report.spent_ns / 1e9)
        self._conclude(shard, results)

    def died(self, worker: Worker, death: Death) -> None:
        """A worker is gone: what it ran is to blame or not, all else goes back."""
        blamed = outcomes_of(death, self.spec)
        for chunk, shard in self._flights.pop(worker.id, {}).items():
            outcomes = {index: outcome for (number, index), outcome in blamed.items() if number == chunk}
            results = shard.lost(chunk, outcomes, now_ms=self._clock.now_ms(), draw=random.random)
            self._conclude(shard, results)
        if death.reason not in {"stopped", "zygote"}:
            log.warning("a worker died", function=self.spec.name, reason=death.reason, detail=death.detail)
        self._moved()

    def said(self, _worker: Worker, lines: Sequence[Line]) -> None:
        """A worker printed or logged."""
        self._hooks.output(function=self.spec, lines=lines)

    def _conclude(self, shard: Shard, results: Sequence[Result]) -> None:
        if results:
            self._hooks.handled(function=self.spec, results=results)
        if (settler := self._settlers.get(shard.partition)) is not None:
            settler.kick()
        self._moved()

    # -- what settlers tell ---------------------------------------------------------------------------------------

    def _on_settled(self, _shard: Shard) -> None:
        self._moved()

    def _on_trouble(self, _shard: Shard, _trouble: BrokerError | None) -> None:
        self._refresh()

    def _on_fenced(self, shard: Shard) -> None:
        topic, partition = shard.partition
        log.warning(
            "another runtime took the partition over", function=self.spec.name, topic=topic, partition=partition
        )
        self._shards.pop(shard.partition, None)
        self._settlers.pop(shard.partition, None)
        self._moved()

    # -- waiting --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        now_ms = self._clock.now_ms()
        due = [when for shard in self._shards.values() if (when := shard.wake(now_ms)) is not None]
        nearest = min(due) if due else None
        if nearest == self._timer_ms:
            return
        self._cancel_timer()
        self._timer_ms = nearest
        if nearest is not None:
            in_s = (nearest - now_ms) / 1000
            self._cancel_timer = self._clock.call_at(self._clock.monotonic() + in_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer_ms = None
        self._moved()

    async def _until(self, condition: Callable[[], bool], budget_s: float) -> None:
        try:
            async with asyncio.timeout(budget_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # the budget is spent; the caller does what is left to do without

    # -- how it stands --------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether nothing is held, in flight or unsettled."""
        return not any(shard.events or shard.unsettled for shard in self._shards.values())

    @property
    def watermarks(self) -> dict[Partition, int]:
        """Below which offset all is done, for each partition this runtime owns."""
        return {partition: shard.progress.watermark for partition, shard in self._shards.items()}

    @property
    def status(self) -> Status:
        """The state and its reason."""
        return self._status

    def _refresh(self) -> None:
        self._status.set(*self._state())
        self._changed.set()

    def _state(self) -> tuple[State, str]:
        shards = self._shards.values()
        trouble = next((s.trouble for s in self._settlers.values() if s.trouble), self._fetch_trouble)
        if trouble is not None:
            return (State.RETRYING if isinstance(trouble, BrokerUnavailable) else State.PAUSED), str(trouble)
        if self.pool.problem is not None and not self.pool.workers:
            return State.PAUSED, self.pool.problem
        if self._paused and not any(shard.ready or shard.in_flight for shard in shards):
            return State.WAITING_FULL, f"{sum(s.events for s in shards)} events wait behind {self._waits()}"
        if any(shard.ready or shard.in_flight for shard in shards):
            return State.RUNNING, ""
        if self._waits_count():
            return State.RETRYING, self._waits()
        return State.IDLE, ""

    def _waits_count(self) -> int:
        return sum(shard.waiting for shard in self._shards.values())

    def _waits(self) -> str:
        return f"{self._waits_count()} to be tried again"

    def __repr__(self) -> str:
        events = sum(shard.events for shard in self._shards.values())
        return f"<Subscription {self.spec.name}, {self._status}: {events} events held, {self.pool!r}, {self._pacing!r}>"
