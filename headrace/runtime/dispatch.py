"""Dispatch: chunks of a function's events to its workers, and their outcomes back to the shards.

Hands each chunk to the worker with the fewest, a few deep, so that neither the hop between processes nor a slow handler
holds others up. When a worker dies, what it had goes back to the shards, and only the guilty event is charged.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from headrace.runtime.blame import Running, blame
from headrace.runtime.hooks import Hooks
from headrace.runtime.pacing import Pacing
from headrace.runtime.ports import Clock, Partition
from headrace.runtime.rate import Rate
from headrace.runtime.result import Result
from headrace.runtime.shard import Shard
from headrace.runtime.workers import Pool, Worker
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.process import Death, Line
from headrace.sandbox.wire import Chunk, Report

CHUNK_BYTES = 1 << 20
BATCH_BYTES = 8 << 20

log = structlog.get_logger("headrace")
_chunk_ids = itertools.count(1)


class Dispatch:
    """The workers' side of a subscription; listens to them.

    `moved` is called after each change, with the shard that has something new to settle or None. The pool must be set
    before anything is handed out. `dice` draws the jitter of retries and the order in which partitions are served.
    """

    def __init__(
        self,
        spec: FunctionSpec,
        shards: Mapping[Partition, Shard],
        clock: Clock,
        hooks: Hooks,
        *,
        moved: Callable[[Shard | None], None],
        dice: random.Random,
    ) -> None:
        self.pool: Pool
        self._spec = spec
        self._shards = shards
        self._clock = clock
        self._hooks = hooks
        self._moved = moved
        self._dice = dice
        self._flights: defaultdict[int, dict[int, Shard]] = defaultdict(dict)
        self._alone: set[int] = set()  # workers that have an event which runs alone
        self._pacing = Pacing(spec.concurrency, spec.batch.size if spec.batch else None)
        self._most_bytes = BATCH_BYTES if spec.batch else CHUNK_BYTES
        self._rate = None if spec.rate is None else Rate(spec.rate, clock.monotonic(), spec.batch)
        self._must_wait = False

    def hand_out(self) -> None:
        """Give workers what may run and they have room for; ask for another worker if there is more than that."""
        self._must_wait = False
        if self._hand_out_alone():
            return
        ready = [shard for shard in self._shards.values() if shard.ready]
        self._dice.shuffle(ready)  # no partition is always the first
        while ready:
            if not (most := self._most()):
                return
            if (worker := self._free_worker()) is None:
                self.pool.demand()
                return
            shard = ready.pop()
            chunk = shard.take(next(_chunk_ids), most, self._most_bytes, generation=worker.generation)
            if chunk is not None:
                self._send(worker, chunk, shard)
            if shard.ready:
                ready.insert(0, shard)

    def _hand_out_alone(self) -> bool:
        """Give idle workers the events that have to run alone; whether some still wait for a worker to run empty.

        Nothing else is handed out while they wait: otherwise no worker might ever be idle.
        """
        for shard in self._shards.values():
            while shard.ready_alone:
                if not (most := self._most()):
                    return True
                worker = next((one for one in self.pool.workers if not self._flights.get(one.id)), None)
                if worker is None:
                    self.pool.demand()
                    return True
                chunk = shard.take_alone(next(_chunk_ids), most, self._most_bytes, generation=worker.generation)
                if chunk is not None:
                    self._alone.add(worker.id)
                    self._send(worker, chunk, shard)
        return False

    @property
    def resumes_ms(self) -> int | None:
        """When more may be handed out (milliseconds since 1970), if the function's rate holds something up."""
        if self._rate is None or not self._must_wait:
            return None
        return self._clock.now_ms() + max(1, math.ceil(self._rate.next_in(self._clock.monotonic()) * 1000))

    def _most(self) -> int:
        """How many events the next chunk may have."""
        if self._rate is None:
            return self._pacing.size
        allowed = self._rate.allowed(self._clock.monotonic())
        self._must_wait = allowed == 0
        return min(allowed, self._pacing.size)

    def _send(self, worker: Worker, chunk: Chunk, shard: Shard) -> None:
        if self._rate is not None:
            self._rate.take(len(chunk.tasks), self._clock.monotonic())
        self._flights[worker.id][chunk.id] = shard
        worker.send(chunk)

    def renew(self, spec: FunctionSpec) -> None:
        """Hand out as `spec` says from now on. How long its events take is taken to be what it was."""
        seconds_per_event = self._pacing.seconds_per_event
        self._pacing = Pacing(spec.concurrency, spec.batch.size if spec.batch else None)
        self._pacing.seconds_per_event = seconds_per_event
        if spec.rate != self._spec.rate:
            self._rate = None if spec.rate is None else Rate(spec.rate, self._clock.monotonic(), spec.batch)
        self._spec = spec

    def kill_holders(self, shards: Collection[Shard]) -> None:
        """Kill the workers that still run events of these shards; nobody is charged for that."""
        for worker in (*self.pool.workers, *self.pool.leaving):
            if any(shard in shards for shard in self._flights.get(worker.id, {}).values()):
                worker.kill()

    def recall(self) -> None:
        """Let each worker finish the event it runs, and give the others back."""
        for worker in self.pool.workers:
            worker.recall()

    # -- what workers tell ----------------------------------------------------------------------------------------

    def worker_ready(self, _worker: Worker) -> None:
        """A worker can take chunks."""
        self._moved(None)

    def start_failed(self, _problem: str) -> None:
        """A worker could not be started; the pool has the reason."""
        self._moved(None)

    def reported(self, worker: Worker, report: Report) -> None:
        """Outcomes came back."""
        flights = self._flights[worker.id]
        shard = flights[report.chunk]
        results = shard.report(
            report.chunk,
            report.first,
            report.outcomes,
            now_ms=self._clock.now_ms(),
            draw=self._dice.random,
            each_ns=report.each_ns,
        )
        if not shard.flies(report.chunk):
            del flights[report.chunk]
            if not flights:
                self._alone.discard(worker.id)
        self._pacing.observe(len(report.outcomes), report.spent_ns / 1e9)
        self._conclude(shard, results)

    def died(self, worker: Worker, death: Death) -> None:
        """A worker is gone: what it ran is to blame, suspect or neither; all that is not charged goes back."""
        if death.reason not in {"stopped", "zygote"}:
            log.warning("a worker died", function=self._spec.name, reason=death.reason, detail=death.detail)
        flights = self._flights.pop(worker.id, {})
        self._alone.discard(worker.id)
        running = [one for one in death.running if one[0] in flights and flights[one[0]].flies(*one)]
        verdict = blame(death, running, self._spec)
        for chunk, shard in flights.items():
            guilty = {index: outcome for (number, index), outcome in verdict.guilty.items() if number == chunk}
            suspects = _indexes(verdict.suspects, chunk)
            now_ms, draw = self._clock.now_ms(), self._dice.random
            self._conclude(shard, shard.lost(chunk, guilty, suspects, now_ms=now_ms, draw=draw))
        self._moved(None)

    def said(self, _worker: Worker, lines: Sequence[Line]) -> None:
        """A worker printed or logged."""
        self._hooks.output(function=self._spec, lines=lines)

    def _conclude(self, shard: Shard, results: Sequence[Result]) -> None:
        if results:
            self._hooks.handled(function=self._spec, results=results)
        self._moved(shard)

    def _free_worker(self) -> Worker | None:
        """The worker with the least to do, if it has room for another chunk."""
        workers = self.pool.workers
        shared = [worker for worker in workers if worker.id not in self._alone]
        if not shared:
            return None
        worker = min(shared, key=lambda one: one.in_flight)
        chunks = len(self._flights.get(worker.id, ()))
        if chunks and len(workers) + self.pool.starting < self._spec.workers[1]:
            return None  # rather another worker than a queue
        return worker if self._pacing.has_room(chunks, worker.in_flight) else None

    def __repr__(self) -> str:
        chunks = sum(len(flights) for flights in self._flights.values())
        return f"<Dispatch of {self._spec.name}: {chunks} chunks in {len(self._flights)} workers, {self._pacing!r}>"


def _indexes(running: Collection[Running], chunk: int) -> set[int]:
    return {index for number, index in running if number == chunk}
