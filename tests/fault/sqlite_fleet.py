"""Runtimes of one app on one embedded log as processes, with a producer beside them: to watch, kill, freeze and end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from fault.fleet import Fleet, Runtime
from fault.kafka_notes import Notes
from fault.kafka_watch import wait_for
from harness import Shell

from headrace.runtime.ports import Record, TopicSpec
from headrace.sandbox.headers import unpack
from headrace.triggers.brokers.sqlite import SqliteLog

WRAPPER = Path(__file__).with_name("sqlite_planted.py")
KEYS = 24

FUNCTIONS = """
@function("orders", emits={"emails": EmailSent}, timeout=60.0)
def confirm(order: Order, ctx: Context) -> EmailSent:
    note("start", order.n, ctx)
    return EmailSent(n=order.n, attempt=ctx.attempt)
"""

PRODUCER = """
import sys
from headrace import connect_sync
with connect_sync(sys.argv[1]) as log:
    for n in range(int(sys.argv[2])):
        log.emit("orders", {"n": n}, key=f"k{n % int(sys.argv[3])}", type="Order")
"""


class SqliteFleet(Fleet):
    """An app of one function, `orders` to `emails`. `partitions` are those of `orders`."""

    def __init__(self, folder: Path, *, partitions: int = 4) -> None:
        self.path = folder / "log.db"
        self._environment = {"HEADRACE_APP": "shop", "HEADRACE_BROKER": f"sqlite:{self.path}"}
        super().__init__(Shell(folder, self._environment))
        self.notes = Notes(folder / "notes")
        self.shell.write("functions.py", self.notes.source(FUNCTIONS))
        self._partitions = partitions
        self._runner = asyncio.Runner()
        self._log: SqliteLog

    def __enter__(self) -> Self:
        self._log = self._runner.run(SqliteLog.open(self.path))
        self._runner.run(self._log.ensure([TopicSpec("orders", self._partitions), TopicSpec("emails", 1)]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._runner.run(self._log.close())
        self._runner.close()

    def start(self, *planted: str) -> Runtime:
        """One more runtime; it has its share when it says that it serves."""
        runtime = self.launch(Shell(self.shell.folder, self._environment, program=(str(WRAPPER), *planted, "--")))
        runtime.wait_until_serving()
        return runtime

    def emit(self, count: int) -> None:
        """Have a process of its own emit so many orders, one after another, beginning now."""
        command = [sys.executable, "-c", PRODUCER, f"sqlite:{self.path}", str(count), str(KEYS)]
        self.stack.enter_context(subprocess.Popen(command, env=self.shell.env))

    def freeze(self, runtime: Runtime) -> None:
        """With SIGSTOP, at a moment when it does not hold the turnstile: with it in hand all would wait for it."""
        turnstile = os.open(f"{self.path}.lock", os.O_RDWR)
        try:
            wait_for(lambda: _is_frozen_outside(runtime, turnstile), "the runtime to be stopped between two writes")
        finally:
            os.close(turnstile)

    def wait_for_shares(self, *runtimes: Runtime, sizes: Iterable[int]) -> None:
        """Until these runtimes have so many partitions each, in any order, and together all."""

        def shared() -> bool:
            shares = [owned(runtime) for runtime in runtimes]
            parts = sorted(number for share in shares for number in share)
            return sorted(map(len, shares)) == sorted(sizes) and parts == list(range(self._partitions))

        wait_for(shared, f"shares of {sizes}; they are {[owned(runtime) for runtime in runtimes]}")

    def wait_until_begun(self, count: int) -> None:
        """Until handlers have begun with so many orders."""
        wait_for(lambda: len(self.notes.begun()) >= count, f"{count} orders to be begun")

    def emails(self, count: int) -> list[Record]:
        """All e-mails, once there are so many."""
        wait_for(lambda: self._end() >= count, f"{count} e-mails")
        fetched = self._runner.run(self._log.read(("emails", 0), 0, 10 * count))
        return list(fetched.records)

    def _end(self) -> int:
        return self._runner.run(self._log.topics(["emails"]))["emails"].bounds[0].end


def owned(runtime: Runtime) -> set[int]:
    """The partitions a runtime has, by its log."""
    parts: set[int] = set()
    for line in runtime.lines:
        if line["event"] == "assigned":
            parts |= set(line["partitions"])
        elif line["event"] == "revoked":
            parts -= set(line["partitions"])
    return parts


def told(runtime: Runtime, event: str, after: int = 0) -> list[int]:
    """The partitions that were `assigned` to a runtime, or `revoked`, from a line of its log on."""
    return [part for line in runtime.lines[after:] if line["event"] == event for part in line["partitions"]]


def number_of(email: Record) -> int:
    """Which order it confirms."""
    assert email.value is not None
    return int(email.value.partition(b'"n":')[2].lstrip().partition(b",")[0])


def check(emails: list[Record], count: int) -> None:
    """One e-mail for each order, those of a key in the order of the orders, each made by an event of its own."""
    assert Counter(map(number_of, emails)) == Counter(range(count))
    for key in range(KEYS):
        numbers = [number_of(email) for email in emails if email.key == f"k{key}".encode()]
        assert numbers == sorted(numbers)
    causes = Counter(dict(unpack(email.headers))["headrace-cause"] for email in emails)
    assert set(causes.values()) == {1}


def _is_frozen_outside(runtime: Runtime, turnstile: int) -> bool:
    runtime.stop()  # whole, or it may still take the turnstile
    # Others hold it for a moment only: whoever holds it for long is the one that was stopped.
    queued = threading.Thread(target=fcntl.flock, args=(turnstile, fcntl.LOCK_EX))
    queued.start()
    queued.join(1.0)
    if not (passed := not queued.is_alive()):
        runtime.send(signal.SIGCONT)
        queued.join()
    fcntl.flock(turnstile, fcntl.LOCK_UN)
    return passed
