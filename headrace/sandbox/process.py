"""The zygote as the parent sees it: it starts workers and reads manifests. Imports no user code."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from headrace.functions.errors import DeclarationError, HeadraceError, SandboxError, TargetError
from headrace.sandbox.child import Listener, Seat, Worker, WorkerSpec
from headrace.sandbox.death import Death
from headrace.sandbox.embryo import Embryo
from headrace.sandbox.link import Link
from headrace.sandbox.manifest import Manifest
from headrace.sandbox.output import Line
from headrace.sandbox.page import Page, create_page
from headrace.sandbox.temporary import temporary_folder
from headrace.sandbox.wire import VERSION, Broken, Ready, Report, Target

__all__ = ["Death", "Line", "Listener", "Worker", "WorkerSpec", "Zygote"]

MANIFEST_TIMEOUT = 10.0
SETUP_TIMEOUT = 60.0
MANIFEST_MEMORY = 512 << 20


class Zygote:
    """Starts workers, each forked from one small process that has imported headrace and nothing of the user's.

    If that process dies its workers die with it (`Death.reason` "zygote"), and the next `spawn` starts another. The
    first may have been begun before, as `embryo`.
    """

    def __init__(self, embryo: Embryo | None = None) -> None:
        self._embryo = embryo
        self._link: Link | None = None
        self._starting = asyncio.Lock()
        self._lives: set[asyncio.Task[None]] = set()
        self._workers: set[Worker] = set()
        self._last_worker = 0

    @property
    def pid(self) -> int | None:
        """The zygote's process id, None if it is not running."""
        return self._link.pid if self._link is not None and self._link.alive else None

    async def start(self) -> None:
        """Start the zygote unless it runs. Raises `SandboxError` if it cannot be started."""
        async with self._starting:
            if self._link is None or not self._link.alive:
                if self._link is not None:
                    await self._link.close()
                embryo, self._embryo = self._embryo, None
                self._link = await Link.open(embryo)

    async def spawn(
        self,
        spec: WorkerSpec,
        listener: Listener,
        *,
        generation: int = 0,
        ready_timeout: float = 10.0,
        setup_timeout: float = SETUP_TIMEOUT,
    ) -> Worker:
        """Start a worker; returns when it has imported the target and is set up, both within their seconds.

        Raises `TargetError` or `DeclarationError`, as the worker worded it, if the target cannot serve, and
        `SandboxError` if no worker could be started.
        """
        worker = await self._fork(spec, listener, generation)
        try:
            _check(await self._answer_of(worker, ready_timeout, setup_timeout))
        except BaseException:
            worker.kill()
            raise
        return worker

    async def read_manifest(self, target: Target, app: str) -> Manifest:
        """What the target declares, read in a worker without secrets. Raises as `spawn` does."""
        spec = WorkerSpec(target, None, app, cluster="", environment={}, outlets={})
        worker = await self.spawn(spec, _Nobody(), ready_timeout=MANIFEST_TIMEOUT)
        ending = asyncio.create_task(worker.stop(1.0), name=f"end of worker {worker.id}")  # nobody has to wait for it
        self._lives.add(ending)
        ending.add_done_callback(self._lives.discard)
        if worker.manifest is None:
            raise SandboxError(f"{target.path}: the worker read the target and sent no manifest; this is a bug")
        return worker.manifest

    def interrupt(self) -> None:
        """Interrupt every worker, those that are starting, too (see `Worker.interrupt`)."""
        for worker in self._workers:
            worker.interrupt()

    async def close(self) -> None:
        """Kill what still runs and end the zygote. Returns when all of it is gone."""
        for worker in self._workers:
            worker.kill()
        if self._lives:
            await asyncio.wait(set(self._lives))
        if self._embryo is not None:
            await asyncio.to_thread(self._embryo.end)
        if self._link is not None:
            await self._link.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _fork(self, spec: WorkerSpec, listener: Listener, generation: int) -> Worker:
        await self.start()
        assert self._link is not None
        self._last_worker += 1
        number = self._last_worker
        with _Ends.make() as ends:
            seat = await self._seat(self._link, ends, number, generation, spec)
            worker = Worker(seat, spec, listener)
            life = await worker.connect(*ends.take())
        self._workers.add(worker)
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        life.add_done_callback(lambda _: self._workers.discard(worker))
        return worker

    async def _seat(self, link: Link, ends: _Ends, number: int, generation: int, spec: WorkerSpec) -> Seat:
        grants = spec.function.grants if spec.function is not None else None
        memory = MANIFEST_MEMORY if grants is None else 0 if grants.unrestricted else grants.memory
        folder = temporary_folder("headrace-")
        try:
            fds = ends.theirs if spec.terminal is None else (*ends.theirs, spec.terminal)
            born = await link.fork(number, str(folder), memory, fds)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Seat(number, generation, born.pid, born.pidfd, born.status, Page(ends.page), folder)

    async def _answer_of(self, worker: Worker, timeout: float, setup_timeout: float) -> Ready | Broken:
        ends: list[asyncio.Future[Any]] = [worker.answer, worker.death]
        await asyncio.wait([*ends, worker.imported], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if is_setup := worker.imported.done():
            await asyncio.wait(ends, timeout=setup_timeout, return_when=asyncio.FIRST_COMPLETED)
        if worker.answer.done():
            return worker.answer.result()
        what = _setup_of(worker.spec) if is_setup else f"{worker.spec.target.path}: importing it"
        if worker.death.done():
            death = worker.death.result()
            said = "".join(f"\n  {line}" for line in death.output)
            raise SandboxError(f"{what} ended the worker: {death.detail}{said}")
        if is_setup:
            raise TargetError(
                f"{what} took more than {setup_timeout:g} s; let what it waits for give up sooner, so that it says why"
            )
        raise TargetError(
            f"{what} took more than {timeout:g} s; a module must import quickly: move slow work into setup="
        )

    def __repr__(self) -> str:
        state = f"pid {self.pid}, {len(self._workers)} workers" if self.pid else "not running"
        return f"<Zygote, {state}>"


class _Ends:
    """The pipes, the socket and the page of a worker to be. Whatever was not taken is closed."""

    def __init__(self) -> None:
        with ExitStack() as made:
            self._ours, their_socket = map(made.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
            self._pipes = [_pipe(made), _pipe(made)]
            self.page = create_page()
            made.pop_all()
        self.theirs = (their_socket.detach(), self._pipes[0][1], self._pipes[1][1], self.page)
        self._taken = False

    @classmethod
    def make(cls) -> Self:
        """Raises `SandboxError` if this process, or its machine, has no more to give."""
        try:
            return cls()
        except OSError as error:
            raise SandboxError(
                f"no worker can be started: {error.strerror}; see the limits of open files, of memory and of a file's "
                "size (`ulimit -a`)"
            ) from error

    def take(self) -> tuple[socket.socket, int, int]:
        """The parent's ends: socket, stdout, stderr."""
        self._taken = True
        return self._ours, self._pipes[0][0], self._pipes[1][0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self.theirs:
            os.close(fd)
        if not self._taken:
            self._ours.close()
            for reader, _writer in self._pipes:
                os.close(reader)


def _pipe(made: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        made.callback(os.close, fd)
    return ends


class _Nobody:
    """Listens to a worker that only reads the manifest."""

    def reported(self, worker: Worker, report: Report) -> None:
        """Nothing was sent, so nothing comes."""

    def died(self, worker: Worker, death: Death) -> None:
        """As it should."""

    def said(self, worker: Worker, lines: Sequence[Line]) -> None:
        """What a module prints while its manifest is read, it prints again in every worker."""


def _setup_of(spec: WorkerSpec) -> str:
    function = spec.function
    return f"{function.file}:{function.line}: the setup of {function.name}" if function else "its setup"


def _check(answer: Ready | Broken) -> None:
    if isinstance(answer, Broken):
        kind: type[HeadraceError] = DeclarationError if answer.kind == "declaration" else TargetError
        raise kind(answer.failure.message)
    if answer.version != VERSION:
        raise SandboxError(
            f"the worker speaks version {answer.version} of the protocol, not {VERSION}: restart headrace"
        )
