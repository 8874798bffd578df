"""The process of a broker: started so that it dies with us, waited for until it answers, stopped, killed or frozen."""

from __future__ import annotations

import signal
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from kafkaserver.wire import call

START = 180.0  # seconds until it must answer
STOP = 30.0  # seconds for a clean end
METADATA = 3


class BrokerFailed(Exception):
    """The broker did not start; the message ends with the tail of its log."""


class BrokerProcess:
    """One run of a broker."""

    def __init__(self, command: Sequence[str], log: Path, *, on_our_death: str = "KILL") -> None:
        self._log = log
        guarded = ["setpriv", "--pdeathsig", on_our_death, *command]
        with log.open("ab") as out:
            self._process = _started(guarded, out)

    @property
    def pid(self) -> int:
        """The broker's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended (it may be frozen)."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` after `timeout` seconds."""
        return self._process.wait(timeout)

    def wait_until_ready(self, port: int) -> None:
        """Return once it answers on this port; `BrokerFailed` if it ends before, or takes longer than 180 s."""
        deadline = time.monotonic() + START
        while not answers(port):
            try:
                code = self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                self.send(signal.SIGKILL)
                raise BrokerFailed(f"the broker did not answer within {START:.0f} s\n{self.tail()}") from None
            raise BrokerFailed(f"the broker ended with code {code} instead of starting\n{self.tail()}")
        if not self.running:
            raise BrokerFailed(f"another server answers on port {port}, which this broker was to have\n{self.tail()}")

    def stop(self) -> None:
        """End it cleanly; after 30 s by force. Returns when it is gone."""
        if not self.running:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Signal it; with SIGKILL, wait until it is gone, and with SIGSTOP until all of it stands still."""
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()
        elif number == signal.SIGSTOP:
            self._wait_until_still()

    def _wait_until_still(self) -> None:
        deadline = time.monotonic() + STOP
        while self.running and not stands_still(self.pid):
            assert time.monotonic() < deadline, f"process {self.pid} goes on {STOP:.0f} s after SIGSTOP"
            time.sleep(0.001)  # noqa: TID251  (nobody tells)

    def tail(self) -> str:
        """The last lines of its log."""
        return self._log.read_text(errors="replace")[-4000:]


def stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped."""
    try:
        stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread that ends just now
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def answers(port: int) -> bool:
    """Whether a broker on this port knows of a live broker: itself, when it is ready to serve."""
    try:
        return call(port, METADATA, 1, struct.pack(">i", 0)).take("i") > 0
    except (OSError, struct.error):
        return False


def _started(command: list[str], out: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start it in a thread that outlives it: the death signal comes when the *thread* that started a process ends."""
    begun: Future[subprocess.Popen[bytes]] = Future()

    def keep() -> None:
        try:
            begun.set_result(_run(command, out))
        except OSError as error:
            begun.set_exception(error)
        else:
            begun.result().wait()

    if threading.current_thread() is threading.main_thread():
        return _run(command, out)
    threading.Thread(target=keep, name="kafka-keeper", daemon=True).start()
    return begun.result()


def _run(command: list[str], out: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: a Ctrl-C meant for us must not reach it before we have decided.
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
    )
