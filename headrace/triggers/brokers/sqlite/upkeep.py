"""Upkeep: the chores of a log, done now and then by a thread of a process that serves groups.

A process that only appends or reads does none. It never stops for a failure: it says so, and tries again next time.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import structlog

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite import chores, space
from headrace.triggers.brokers.sqlite.bench import Bench, Interrupted
from headrace.triggers.brokers.sqlite.failure import translated

EVERY_S = 30.0
_LOOK_S = 5.0
_GROWN = 64 << 20
_PATIENCE_S = 10.0

log = structlog.get_logger("headrace")


class Upkeep:
    """Does the chores at `start`, then every `every_s` seconds, or sooner when the log has grown by 64 MiB."""

    def __init__(self, path: Path, run: Path, *, every_s: float = EVERY_S) -> None:
        self._path = path
        self._run = run
        self._every_s = every_s
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._bench: Bench | None = None
        self._trouble = ""
        self._alarmed = False
        self.rounds = 0

    def __repr__(self) -> str:
        state = "ended" if self._ending.is_set() else "not started" if self._thread is None else "running"
        return f"<Upkeep of {self._path.name}: {state}, {self.rounds} rounds{self._trouble and ', in trouble'}>"

    def start(self) -> None:
        """Begin, unless it has."""
        if self._thread is None and not self._ending.is_set():
            # A daemon, because a turn at the turnstile that never comes must not keep the process from ending.
            self._thread = threading.Thread(target=self._serve, name=f"headrace-upkeep {self._path.name}", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """End after the slice under way, for good."""
        self._ending.set()
        with self._lock:
            if self._bench is not None:
                self._bench.stop()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _PATIENCE_S)

    def _serve(self) -> None:
        while not self._ending.is_set():
            try:
                self._round()
                self._trouble = ""
            except BrokerError as error:
                self._tell(str(error))
            except sqlite3.Error as error:
                self._tell(str(translated(error, self._path)))
            except Exception as error:  # noqa: BLE001  (nobody else would notice that it ended)
                self._tell(f"upkeep failed unexpectedly: {error!r}")
            self._rest()

    def _round(self) -> None:
        with chores.alone(self._run) as is_alone:
            if is_alone:
                self._do()
        self._look_at_wal()
        self.rounds += 1

    def _do(self) -> None:
        bench = Bench.open(self._path)
        try:
            with self._lock:
                if self._ending.is_set():
                    return
                self._bench = bench
            report(chores.do(bench, time.time_ns() // 1_000_000))
        except Interrupted:
            pass
        finally:
            with self._lock:
                self._bench = None
            bench.close()

    def _rest(self) -> None:
        until, size = time.monotonic() + self._every_s, self._size()
        while (left := until - time.monotonic()) > 0 and self._size() - size < _GROWN:
            if self._ending.wait(min(left, _LOOK_S)):
                return

    def _size(self) -> int:
        return space.size_of(self._path) + space.wal_bytes(self._path)

    def _look_at_wal(self) -> None:
        size = space.wal_bytes(self._path)
        if size > space.WAL_ALARM and not self._alarmed:
            log.warning(
                "the log's -wal file grows, because something keeps reading an old state of the log: end what has the "
                "file open for long (an sqlite3 shell, a backup tool); `headrace log check` says more",
                wal=str(self._path) + "-wal",
                bytes=size,
            )
        self._alarmed = size > space.WAL_ALARM

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:  # once for each reason
            self._trouble = trouble
            log.warning("the log's upkeep failed; it is tried again", reason=trouble)


def report(done: chores.Done) -> None:
    """Say in the log what was done, if it was anything; losses loudly."""
    for loss in done.losses:
        log.warning(
            "retention deleted events before they were handled: keep them longer, or see why the function is behind",
            group=loss.group,
            topic=loss.topic,
            partition=loss.partition,
            lost=loss.records,
        )
    if done:
        log.info("upkeep of the log", deleted=done.records, compacted=done.compacted, bytes_given_back=done.given_back)
