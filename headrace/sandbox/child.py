"""A worker process as the parent sees it: send chunks, get reports, learn of its end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from headrace.functions.errors import SandboxError
from headrace.sandbox.death import Death, Reason, explain_status
from headrace.sandbox.linux.memory import shared_bytes
from headrace.sandbox.manifest import FunctionSpec, Grants, Manifest
from headrace.sandbox.output import Line, Lines
from headrace.sandbox.page import Page, Slot
from headrace.sandbox.vetting import Flights
from headrace.sandbox.wire import (
    MAX_REPORT,
    VERSION,
    Broken,
    Chunk,
    FrameBuffer,
    Imported,
    Outlet,
    Ready,
    Report,
    Start,
    Target,
    decode_reply,
    frame,
)

TICK = 0.25
HARD = 2.0  # seconds past its deadline after which a handler is killed
SILENCE = 5.0  # seconds past it after which a worker that reports nothing is, whatever its page says
STATUS = 5.0  # seconds in which the zygote must have said how a dead worker ended
HANG_UP = 1.0  # seconds in which a worker that closed its connection must have ended
LAST_WORDS = 1.0  # seconds in which what it left in its pipes must have come


@dataclass(frozen=True)
class WorkerSpec:
    """How a worker is started. Without a `function` it reads the target's manifest.

    `environment` is what the function's grants pass on, its secrets among it; `outlets` are the topics it
    may emit to. `code` is the fingerprint that its code must have; None where any will do. `timed`: it reports how long
    each event took. `terminal` is a file descriptor: the handler is debugged from there.
    """

    target: Target
    function: FunctionSpec | None
    app: str
    cluster: str
    environment: Mapping[str, str]
    outlets: Mapping[str, Outlet]
    code: str | None = None
    timed: bool = False
    terminal: int | None = None

    @property
    def name(self) -> str:
        """The function's name, for people."""
        return self.function.name if self.function else "manifest"


class Listener(Protocol):
    """Who is told what a worker does. Called on the loop; must not block."""

    def reported(self, worker: Worker, report: Report, /) -> None:
        """Outcomes came. They were checked: events in flight on this worker, each once.

        Those of a chunk come in order where the function's concurrency is 1, and in any order where it is more.
        """
        ...

    def died(self, worker: Worker, death: Death, /) -> None:
        """The worker is gone; told exactly once for every worker that became ready, after its last report."""
        ...

    def said(self, worker: Worker, lines: Sequence[Line], /) -> None:
        """It printed or logged."""
        ...


@dataclass(frozen=True)
class Seat:
    """What a worker process was given and is known by. `status` is its wait status, None if nobody will learn it."""

    number: int
    generation: int
    pid: int
    pidfd: int
    status: asyncio.Future[int | None]
    page: Page
    folder: Path


class Worker:
    """A worker process. `in_flight` counts events sent and not yet reported; `code` is its code's fingerprint."""

    def __init__(self, seat: Seat, spec: WorkerSpec, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        self.id = seat.number
        self.pid = seat.pid
        self.generation = seat.generation
        self.code = ""
        self.manifest: Manifest | None = None
        self.spec = spec
        self.imported: asyncio.Future[None] = loop.create_future()
        self.answer: asyncio.Future[Ready | Broken] = loop.create_future()
        self.death: asyncio.Future[Death] = loop.create_future()
        self._seat = seat
        self._listener = listener
        self._loop = loop
        self._flights = Flights.of(spec.function, spec.outlets)
        self._stdout, self._stderr = Lines("stdout", loop.time), Lines("stderr", loop.time)
        self._ipc: asyncio.Transport
        self._closed: list[asyncio.Future[None]] = []
        self._pipes: list[asyncio.BaseTransport] = []
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._gone = asyncio.Event()
        self._stopping = False
        self._killed: tuple[Reason, str] | None = None
        self._late: list[Slot] = []

    # -- start --------------------------------------------------------------------------------------------------------

    async def connect(self, ipc: socket.socket, stdout: int, stderr: int) -> asyncio.Task[None]:
        """Attach to the parent's ends and send `Start`. The task that is returned ends when the worker is gone."""
        replies = self._attach(_Ipc(self))
        self._ipc, _ = await self._loop.create_unix_connection(lambda: replies, sock=ipc)
        for fd, lines in ((stdout, self._stdout), (stderr, self._stderr)):
            pipe = os.fdopen(fd, "rb", buffering=0)
            output = self._attach(_Output(self, lines))
            transport, _ = await self._loop.connect_read_pipe(lambda output=output: output, pipe)  # type: ignore[misc]
            self._pipes.append(transport)
        spec = self.spec
        start = Start(
            VERSION,
            spec.target,
            spec.function.name if spec.function else None,
            spec.app,
            spec.cluster,
            dict(spec.environment),
            dict(spec.outlets),
            timeout=spec.function.timeout if spec.function else None,
            concurrency=spec.function.concurrency if spec.function else None,
            timed=spec.timed,
        )
        self._ipc.write(frame(start))
        return self._loop.create_task(self._live(), name=f"life of worker {self.id}")

    def _attach(self, protocol: E) -> E:
        self._closed.append(protocol.closed)
        return protocol

    # -- what the runtime does ----------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Events sent and not yet reported."""
        return self._flights.events

    def send(self, chunk: Chunk) -> None:
        """Hand a chunk over. Never blocks: what the worker does not read yet, the transport keeps."""
        if not self._flights.events:
            self._heard = time.monotonic()
        self._flights.add(chunk)
        self._ipc.write(frame(chunk))
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._tick)

    def recall(self) -> None:
        """Finish what runs; what was sent until now and has not started is answered `NotRun`."""
        if not self.death.done():
            self._seat.page.recall(self._flights.chunks)

    async def stop(self, grace: float) -> None:
        """End of input: finish what was sent and exit; killed after `grace` seconds. Returns when it is gone."""
        self._stopping = True
        with suppress(OSError):  # it closed the connection first
            self._ipc.write_eof()
        await asyncio.wait([self.death], timeout=grace)
        self.kill()
        await asyncio.wait([self.death])

    def interrupt(self) -> None:
        """Send it the signal that a Ctrl-C at its own terminal would be; none in order, but to one that is debugged."""
        if not self.death.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._seat.pidfd, signal.SIGINT)

    def kill(self) -> None:
        """End it now. What it ran is not to blame."""
        self.end("stopped", "killed on request")

    def end(self, reason: Reason, detail: str) -> None:
        """Kill it for `reason`, unless it is killed already, or has ended by itself: its status will say how."""
        if self._killed is None and not self._gone.is_set():
            self._killed = (reason, detail)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._seat.pidfd, signal.SIGKILL)

    # -- what the worker does -----------------------------------------------------------------------------------------

    def received(self, body: bytes) -> None:
        """A frame came. Raises `SandboxError` for one that no honest worker sends."""
        try:
            reply = decode_reply(body)
        except msgspec.DecodeError as error:
            raise SandboxError(f"a frame that cannot be read: {error}") from error
        if isinstance(reply, Report):
            self._flights.accept(reply)
            self._heard = time.monotonic()
            self._listener.reported(self, reply)
        elif self.answer.done() or (isinstance(reply, Imported) and self.imported.done()):
            raise SandboxError(f"a second {type(reply).__name__}")
        elif isinstance(reply, Imported):
            self.imported.set_result(None)
        else:
            if isinstance(reply, Ready):
                self.code, self.manifest = reply.code, reply.manifest
            self.answer.set_result(reply)

    def said(self, lines: Sequence[Line]) -> None:
        """Lines came."""
        if lines:
            self._listener.said(self, lines)

    def hung_up(self) -> None:
        """It closed its connection; as a rule because it has just ended."""
        if not self._stopping:
            self._loop.call_later(HANG_UP, self.end, "protocol", "the worker closed its connection: killed")

    def _tick(self) -> None:
        self._timer = None
        if self.death.done() or not self._flights.events or self.spec.function is None:
            return
        self._check_time(self.spec.function.timeout)
        self._check_memory(self.spec.function.grants)
        self._timer = self._loop.call_later(TICK, self._tick)

    def _check_time(self, timeout: float) -> None:
        now, ages = time.monotonic(), self._seat.page.ages(time.monotonic_ns())
        late = [(slot, age / 1e9) for slot, age in ages if age > timeout * 1e9]
        for slot, seconds in late:
            if seconds > timeout + HARD and self._flights.has(slot.chunk, slot.index):
                self._late = [slot for slot, _ in late]
                self.end("timeout", f"an event ran for {seconds:.1f} s, its timeout is {timeout:g} s: killed")
                return
        if now - self._heard > timeout + SILENCE:
            self.end(
                "timeout", f"nothing was reported for {now - self._heard:.1f} s, the timeout is {timeout:g} s: killed"
            )

    def _check_memory(self, grants: Grants) -> None:
        shared = 0 if grants.unrestricted else shared_bytes(self.pid)
        if shared > grants.memory:
            self.end(
                "memory", f"{shared >> 20} MiB of shared memory, over the limit of {grants.memory >> 20} MiB: killed"
            )

    # -- end ----------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """From the first breath to the last word: `died` is called when all that the worker wrote has come."""
        self._loop.add_reader(self._seat.pidfd, self._gone.set)
        try:
            await self._gone.wait()
        finally:
            self._loop.remove_reader(self._seat.pidfd)
        await asyncio.wait([self._seat.status], timeout=STATUS)
        await asyncio.wait(self._closed, timeout=LAST_WORDS)
        death = self._make_death()
        self._let_go()
        self.death.set_result(death)
        try:
            if self._was_ready:
                self._listener.died(self, death)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._seat.folder, ignore_errors=True)

    @property
    def _was_ready(self) -> bool:
        return self.answer.done() and isinstance(self.answer.result(), Ready)

    def _make_death(self) -> Death:
        reason, detail = self._why()
        late = self._late if reason == "timeout" else []
        running = self._in_flight(self._seat.page.running())
        culprits = tuple(one for one in self._in_flight(late) if one in running)
        return Death(reason, detail, running, tuple(self._stderr.last), culprits)

    def _in_flight(self, slots: Sequence[Slot]) -> tuple[tuple[int, int], ...]:
        return tuple(sorted({(s.chunk, s.index) for s in slots if self._flights.has(s.chunk, s.index)}))

    def _why(self) -> tuple[Reason, str]:
        if self._killed is not None:
            return self._killed
        status = self._seat.status.result() if self._seat.status.done() else None
        if status is None:
            return "zygote", "the process that workers are forked from died, and took the worker along"
        if self._stopping and status == 0 and not self.in_flight:
            return "stopped", "asked to stop"
        return explain_status(status)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ipc.abort()
        for pipe in self._pipes:
            pipe.close()
        os.close(self._seat.pidfd)
        self._seat.page.close()

    def __repr__(self) -> str:
        if self.death.done():
            state = f"gone ({self.death.result().reason})"
        elif not self._was_ready:
            state = "starting"
        else:
            state = f"{'stopping, ' if self._stopping else ''}{self.in_flight} events in flight"
        return f"<Worker {self.id} of {self.spec.name}, pid {self.pid}: {state}>"


class _End(asyncio.Protocol):
    """One of a worker's three connections."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.closed.done():
            self.closed.set_result(None)


E = TypeVar("E", bound=_End)


class _Ipc(_End):
    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._frames = FrameBuffer(MAX_REPORT)
        self._trusted = True

    def data_received(self, data: bytes) -> None:
        if not self._trusted:
            return
        try:
            for body in self._frames.feed(data):
                self.worker.received(body)
        except SandboxError as error:
            self._trusted = False
            self.worker.end("protocol", f"the worker sent {error}: killed")

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.hung_up()
        super().connection_lost(exc)


class _Output(_End):
    def __init__(self, worker: Worker, lines: Lines) -> None:
        super().__init__(worker)
        self._lines = lines

    def data_received(self, data: bytes) -> None:
        self.worker.said(self._lines.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.said(self._lines.end())
        super().connection_lost(exc)
