"""Batches: one invocation for all events of a chunk, where the handler takes a list.

Each event is decoded by itself: what is rejected or skipped does not reach the handler. What the handler lets pass, or
its time being up, says nothing of who is to blame: then the batch is divided, and each half runs again (`Divided`),
until one event is alone with its error. On the page a batch is the first event of its chunk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.functions.batch import BatchContext
from headrace.functions.cloudevents import Envelope, read
from headrace.functions.emits import Outbox
from headrace.functions.errors import EmitRefused
from headrace.sandbox import capture
from headrace.sandbox.concurrent import ConcurrentService
from headrace.sandbox.deadlines import Running
from headrace.sandbox.failure import refusal
from headrace.sandbox.headers import by_name
from headrace.sandbox.invocation import NOT_A_PAYLOAD, HandlerTimeout, Invocation, unwelcome
from headrace.sandbox.lineup import LANES, Entry
from headrace.sandbox.outcome import (
    ENDED_WELL,
    NOT_RUN,
    Divided,
    Done,
    Outcome,
    Postponed,
    Rejected,
    Skipped,
    half_of,
)
from headrace.sandbox.service import Service
from headrace.sandbox.wire import Chunk, Task

_OPEN: Any = object()  # in the place of an outcome that is not known yet

Outcomes = list[Outcome | None]


@dataclass(frozen=True, slots=True)
class _Item:
    """An event that reaches the handler: its place in the chunk, and what it is there as."""

    index: int
    task: Task
    envelope: Envelope
    payload: Any


class BatchInvocation(Invocation):
    """How batches are run through one handler."""

    async def run_batch(self, chunk: Chunk, started_ns: int, is_late: Callable[[], bool] | None = None) -> Outcomes:
        """Handle all events of a chunk; see `Invocation.run`. An outcome for each."""
        outcomes: Outcomes = [_OPEN] * len(chunk.tasks)
        try:
            if items := self._select(chunk, outcomes):
                await self._handle(items, outcomes, started_ns)
        except BaseException as error:  # noqa: BLE001  (as for single events)
            self._fail_all(outcomes, error, is_late() if is_late else self._is_over(started_ns))
        return self._in_lane_order(chunk, outcomes)

    def late_batch(self, chunk: Chunk, error: HandlerTimeout) -> Outcomes:
        """The outcomes of a chunk whose time was up while they were being made."""
        outcomes: Outcomes = [_OPEN] * len(chunk.tasks)
        self._fail_all(outcomes, error, late=True)
        return outcomes

    # -- before the handler -------------------------------------------------------------------------------------------

    def _select(self, chunk: Chunk, outcomes: Outcomes) -> list[_Item]:
        """The events for the handler. The others have their outcomes, and so have those that must wait for them."""
        items: list[_Item] = []
        blocked: set[object] = set()
        lane_of = LANES[self.handler.declaration.order]
        for index, task in enumerate(chunk.tasks):
            if blocked and lane_of(task) in blocked:
                outcomes[index] = NOT_RUN
                continue
            seen = self._look(chunk, index, task)
            if isinstance(seen, _Item):
                items.append(seen)
                continue
            outcomes[index] = seen
            if not isinstance(seen, ENDED_WELL):
                blocked.add(lane_of(task))
        capture.running.set(items[0].envelope if len(items) == 1 else None)
        return items

    def _look(self, chunk: Chunk, index: int, task: Task) -> _Item | Outcome:
        """One event before the handler sees it, as in `Invocation`, where it is written out for speed."""
        try:
            at = task.origin
            place = (at.topic, at.partition, at.offset) if at else (chunk.topic, chunk.partition, task.offset)
            envelope = read(by_name(task.headers), task.value, place, self._cluster)
            capture.running.set(envelope)
            if (hops := envelope.hops) > self._max_hops:
                return Rejected(refusal("loop", f"went through {hops} handlers, max_hops is {self._max_hops}"))
            payload = self._decode(envelope.type, envelope.data)
            if type(payload) in NOT_A_PAYLOAD:
                return unwelcome(payload)
            if self._where is not None and not self._where(payload, self._event(envelope, task)):
                return Skipped("where")
        except (HandlerTimeout, asyncio.CancelledError):
            raise  # of the whole batch
        except BaseException as error:  # noqa: BLE001  (as for single events)
            return self._ended_by(error, late=False)
        return _Item(index, task, envelope, payload)

    # -- the handler --------------------------------------------------------------------------------------------------

    async def _handle(self, items: Sequence[_Item], outcomes: Outcomes, started_ns: int) -> None:
        payloads = [item.payload for item in items]
        outboxes = [self._outbox(item.envelope, item.task) for item in items]
        failed: dict[int, BaseException] = {}
        if self._takes_context:
            context = self._batch_context(items, outboxes, started_ns)
            returned = self._call(payloads, context)
        else:
            context = None
            returned = self._call(payloads)
        if self._is_async:
            returned = await returned
        if context is not None:
            failed = context.failed
        self._route(returned, outboxes, failed)
        made: Outcomes = [self._done(outbox) if nth not in failed else None for nth, outbox in enumerate(outboxes)]
        for nth, error in failed.items():
            made[nth] = self._ended_by(error, late=False)
        for item, outcome in zip(items, made, strict=True):
            outcomes[item.index] = outcome

    def _route(self, returned: Any, outboxes: Sequence[Outbox], failed: dict[int, BaseException]) -> None:
        """What is returned has an entry for each event; those of events that failed are nothing."""
        if returned is None:
            return
        if not isinstance(returned, list) or len(returned) != len(outboxes):
            what = f"{len(returned)} entries" if isinstance(returned, list) else f"a {type(returned).__qualname__}"
            raise EmitRefused(
                f"returned {what} for a batch of {len(outboxes)} events; return a list with an entry for each event, "
                "None where it emits nothing, or return None"
            )
        for nth, (outbox, entry) in enumerate(zip(outboxes, returned, strict=True)):
            if nth not in failed:
                outbox.returned(entry)

    def _done(self, outbox: Outbox) -> Outcome | None:
        return Done(self._emitted(outbox.emits)) if outbox.emits else None

    def _batch_context(self, items: Sequence[_Item], outboxes: Sequence[Outbox], started_ns: int) -> BatchContext[Any]:
        alone = items[0] if len(items) == 1 else None
        return BatchContext(
            lambda: tuple(self._event(item.envelope, item.task) for item in items),
            lambda: self._logger(self._event(alone.envelope, alone.task) if alone else None),
            outboxes=outboxes,
            attempt=max(item.task.attempt for item in items),
            deadline=started_ns / 1e9 + self._timeout,
            state=self.state,
        )

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def _fail_all(self, outcomes: Outcomes, error: BaseException, late: bool) -> None:
        """The batch failed as a whole: charged is who was alone in it. A `RetryAfter` is meant for all of them."""
        outcome = self._ended_by(error, late)
        still_open = [index for index, known in enumerate(outcomes) if known is _OPEN]
        is_one = len(still_open) == 1 or isinstance(outcome, Postponed)
        for nth, index in enumerate(still_open):
            outcomes[index] = outcome if is_one else Divided(half_of(nth, len(still_open)))

    def _in_lane_order(self, chunk: Chunk, outcomes: Outcomes) -> Outcomes:
        """After an event that did not end well nothing of its lane has been run, whatever became of it."""
        if all(outcome is None or isinstance(outcome, ENDED_WELL) for outcome in outcomes):
            return outcomes
        blocked: set[object] = set()
        lane_of = LANES[self.handler.declaration.order]
        for index, (task, outcome) in enumerate(zip(chunk.tasks, outcomes, strict=True)):
            lane = lane_of(task)
            if lane in blocked:
                outcomes[index] = outcome if isinstance(outcome, Divided) else NOT_RUN
            elif outcome is not None and not isinstance(outcome, ENDED_WELL):
                blocked.add(lane)
        return outcomes


class Batches(Service):
    """Runs chunks through one handler, one batch after another."""

    _invocation: BatchInvocation

    async def _run_chunk(self, chunk: Chunk) -> None:
        """Run a chunk as one batch."""
        self._chunks += 1
        now = time.monotonic_ns()
        self._reports.begin(chunk.id, now)
        if self._page.recalled >= self._chunks:
            outcomes: Outcomes = [NOT_RUN] * len(chunk.tasks)
        else:
            outcomes = await self._run_batch(chunk, now)
            now = time.monotonic_ns()
        self._reports.add_all(outcomes, now)
        self._capture.flush()
        self._reports.flush()

    async def _run_batch(self, chunk: Chunk, now: int) -> Outcomes:
        try:
            self._page.begin(chunk.id, 0, now)
            self._watch.begin(now)
            outcomes = await self._invocation.run_batch(chunk, now)
            self._watch.end()
        except HandlerTimeout as error:  # it struck beside the handler: while the outcomes were being made
            self._watch.end()
            outcomes = self._invocation.late_batch(chunk, error)
        self._connection.end_child()
        self._page.end()
        self._forget_cancelling()
        return outcomes


class ConcurrentBatches(ConcurrentService):
    """Runs up to `concurrency` batches at once. Their lanes are not each other's, so they may start in any order."""

    _invocation: BatchInvocation

    def _line_up(self, chunk: Chunk) -> None:
        self._lineup.add(Entry(chunk, self._chunks, 0, chunk.tasks[0], None))

    def _pass_over(self, entry: Entry) -> None:
        self._conclude_all(entry, [NOT_RUN] * len(entry.chunk.tasks))

    async def _run_event(self, entry: Entry, slot: int) -> None:
        self._connection.end_child()
        event = self._deadlines.begin(entry, slot)
        outcomes = await self._outcomes_of(event)
        self._connection.end_child()
        self._deadlines.end(event)
        self._capture.flush_event()
        self._free.append(slot)
        self._conclude_all(entry, outcomes, event.began_ns)
        self._start_what_may()

    async def _outcomes_of(self, event: Running) -> Outcomes:
        chunk = event.entry.chunk
        try:
            outcomes = await self._invocation.run_batch(chunk, event.began_ns, event.is_cancelled)
            event.ended = True
        except HandlerTimeout as error:  # it struck beside the handler: while the outcomes were being made
            event.ended = True
            outcomes = self._invocation.late_batch(chunk, error)
        return outcomes

    def _conclude_all(self, entry: Entry, outcomes: Outcomes, began_ns: int = 0) -> None:
        now = time.monotonic_ns()
        for index, outcome in enumerate(outcomes):
            spent_ns = 0 if outcome is NOT_RUN else now - began_ns
            self._reports.add(entry.chunk.id, index, outcome, now, spent_ns)
        del self._left[entry.chunk.id]
        self._reports.flush()
