"""The writer: one thread per process that turns what waits into one durable transaction (group commit).

While a commit waits for the disk, the next callers queue up; the disk's own slowness is the batching window.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from headrace.functions.errors import BrokerError, BrokerUnavailable
from headrace.triggers.brokers.sqlite.bells import COMMIT, HELD, Ringer
from headrace.triggers.brokers.sqlite.failure import is_environmental, translated
from headrace.triggers.brokers.sqlite.files import Files
from headrace.triggers.brokers.sqlite.transaction import Transaction

T = TypeVar("T")

_PATIENCE = 30.0
_MOST_PER_COMMIT = 2000


@dataclass(slots=True, eq=False)
class _Job:
    """What one caller asked for, and how it went. Mutable: filled in by the thread, read by the loop."""

    work: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    patience_ends: float
    result: Any = None
    error: BaseException | None = None

    def run(self, transaction: Transaction) -> None:
        self.result, self.error = None, None
        if self.future.done():  # nobody waits for it any more, and whoever tries again must not find it done twice
            return
        try:
            self.result = self.work(transaction)
        except BrokerError as refusal:
            self.error = refusal

    def resolve(self) -> None:
        if self.future.done():  # its caller was cancelled, or ran out of patience
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Does each caller's work in a transaction and returns to it once that is durable.

    `committed` is called on the loop after each commit, with what else may be to do: `bells.HELD` or `bells.COMMIT`.
    Other processes are told by `ringer`, as soon as it is durable. Work is done in the order it was asked for.
    """

    def __init__(self, files: Files, committed: Callable[[bytes], None], ringer: Ringer | None = None) -> None:
        self._files = files
        self._committed = committed
        self._ringer = ringer or Ringer(files.run)
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._turns: dict[str, int] = {}
        self._open: deque[_Job] = deque()  # in the order in which their patience ends
        self._alarm: asyncio.TimerHandle | None = None  # one for all: a timeout for each took a third of an append
        self._process = os.getpid()
        self._closed = False
        # A daemon, because a turn at the turnstile that never comes must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name=f"headrace-writer {files.path.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Writer: {'closed' if self._closed else 'open'}, {self._queue.qsize()} waiting>"

    async def do(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction, on the writer's thread; its result once the transaction is durable.

        A `BrokerError` that `work` raises is its caller's alone, and is raised here. `BrokerUnavailable` after 30 s,
        when it may or may not have been written.
        """
        self._check()
        job = _Job(work, self._loop.create_future(), self._loop.time() + _PATIENCE)
        self._open.append(job)
        self._queue.put(job)
        if self._alarm is None:
            self._alarm = self._loop.call_at(job.patience_ends, self._give_up)
        result: T = await job.future
        return result

    async def close(self) -> bool:
        """Write what waits, then stop; whether the thread has ended, and with it all use of the connection."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, _PATIENCE)
        if self._alarm is not None:
            self._alarm.cancel()
        return not self._thread.is_alive()

    def _check(self) -> None:
        if self._closed:
            raise BrokerUnavailable(f"the log {self._files.path} is closed: open it again to write to it")
        if os.getpid() != self._process:
            raise BrokerError(
                f"the log {self._files.path} was opened before a fork, and cannot be used in the child: open it there"
            )

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            jobs = [first]
            news = COMMIT
            before = self._files.writer.total_changes
            try:
                with self._files.turnstile:
                    self._gather(jobs)  # all who came while it was another process's turn
                    news = self._write(jobs)
            except OSError as error:
                self._fail(jobs, error)
            if self._files.writer.total_changes != before:
                self._ringer.ring(news)
            try:
                self._loop.call_soon_threadsafe(self._announce, jobs, news)
            except RuntimeError:  # the loop was closed without closing the log: nobody is left to tell
                break
        self._ringer.close()

    def _gather(self, jobs: list[_Job]) -> None:
        with suppress(Empty):
            while len(jobs) < _MOST_PER_COMMIT:
                if (job := self._queue.get_nowait()) is None:
                    self._queue.put(None)  # the end, once more, for the next round
                    return
                jobs.append(job)

    def _announce(self, jobs: Sequence[_Job], news: bytes) -> None:
        for job in jobs:
            job.resolve()
        self._forget()
        self._committed(news)

    def _give_up(self) -> None:
        """Fail those who have waited for too long, and look again when the next one will have."""
        now = self._loop.time()
        for job in takewhile(lambda one: one.patience_ends <= now, self._open):
            if not job.future.done():
                job.future.set_exception(self._files.turnstile.stuck(_PATIENCE))
        self._forget()
        self._alarm = self._loop.call_at(self._open[0].patience_ends, self._give_up) if self._open else None

    def _forget(self) -> None:
        while self._open and self._open[0].future.done():
            self._open.popleft()

    def _write(self, jobs: Sequence[_Job]) -> bytes:
        try:
            self._files.verify()
            return self._transact(jobs)
        except BaseException as error:  # noqa: BLE001  (whatever it is, callers wait for an answer)
            if len(jobs) > 1 and not isinstance(error, BrokerError) and not is_environmental(error):
                # One of them cannot be written: the others must not pay for it.
                return HELD if HELD in [self._write([job]) for job in jobs] else COMMIT
            self._fail(jobs, error)
            return COMMIT

    def _fail(self, jobs: Sequence[_Job], error: BaseException) -> None:
        for job in jobs:
            job.error = self._told(error)

    def _transact(self, jobs: Sequence[_Job]) -> bytes:
        connection = self._files.writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            transaction = Transaction(connection, self._turns)
            for job in jobs:
                job.run(transaction)
            transaction.flush()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite ends some by itself, as on a full disk
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        return HELD if transaction.holds else COMMIT

    def _told(self, error: BaseException) -> BaseException:
        # A new one for each caller: an exception raised in several tasks collects all their tracebacks.
        if isinstance(error, BrokerError):
            return type(error)(*error.args)
        if isinstance(error, sqlite3.Error):
            return translated(error, self._files.path)
        ours = BrokerError(f"this cannot be written to {self._files.path}: {type(error).__name__}: {error}")
        ours.__cause__ = error
        return ours
