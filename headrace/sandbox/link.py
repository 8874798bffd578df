"""The parent's end of the zygote's control socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from headrace.functions.errors import SandboxError
from headrace.sandbox.control import Answer, Ended, Fork, Forked, Refused, decode_answer, encode, receive
from headrace.sandbox.embryo import Embryo

START_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Born:
    """A forked worker. `status` will be its wait status, or None if the zygote dies first."""

    pid: int
    pidfd: int
    status: asyncio.Future[int | None]


class Link:
    """One zygote process and the requests to it."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._control = control
        self._process = process
        self._asked: dict[int, asyncio.Future[Born]] = {}
        self._statuses: dict[int, asyncio.Future[int | None]] = {}
        self.pid = process.pid
        self.alive = True
        self._loop.add_reader(control, self._readable)

    @classmethod
    async def open(cls, embryo: Embryo | None = None) -> Link:
        """Start a zygote, or take over one that was begun; returns when it answers. Raises `SandboxError` if not."""
        embryo = embryo or Embryo.begin()
        link = cls(embryo.control, embryo.process)
        try:
            await asyncio.wait_for(link._ask(0), START_TIMEOUT)
        except (TimeoutError, SandboxError) as error:
            await link.close()
            raise SandboxError(
                f"the process that workers are forked from did not start ({sys.executable} -m headrace.sandbox.zygote)"
            ) from error
        return link

    async def fork(self, number: int, folder: str, memory: int, fds: Sequence[int]) -> Born:
        """Fork a worker that takes `fds` over. Raises `SandboxError` if that is not possible."""
        born = self._ask(number)
        try:
            await self._send(encode(Fork(number, folder, memory)), fds)
            return await asyncio.wait_for(born, START_TIMEOUT)
        except (OSError, TimeoutError) as error:
            raise SandboxError(f"no worker could be forked: {str(error) or 'the zygote does not answer'}") from error
        finally:
            self._asked.pop(number, None)

    async def close(self) -> None:
        """End the zygote and, with it, what still runs. Returns when it is gone."""
        self._lost()
        try:
            await asyncio.to_thread(self._process.wait, 5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    def _ask(self, number: int) -> asyncio.Future[Born]:
        if not self.alive:
            raise SandboxError("the process that workers are forked from is gone")
        born = self._asked[number] = self._loop.create_future()
        return born

    async def _send(self, packet: bytes, fds: Sequence[int]) -> None:
        while True:
            try:
                socket.send_fds(self._control, [packet], fds)
            except BlockingIOError:
                await self._writable()
            else:
                return

    async def _writable(self) -> None:
        writable = asyncio.Event()
        self._loop.add_writer(self._control, writable.set)
        try:
            await writable.wait()
        finally:
            self._loop.remove_writer(self._control)

    def _readable(self) -> None:
        try:
            packet, fds = receive(self._control)
        except BlockingIOError:
            return
        except OSError:
            packet, fds = b"", []
        if not packet:
            self._lost()
            return
        try:
            self._answered(decode_answer(packet), fds)
        except msgspec.DecodeError:
            self._lost()

    def _answered(self, answer: Answer, fds: Sequence[int]) -> None:
        match answer:
            case Forked(number, pid):
                self._born(number, pid, fds[0] if fds else -1)
            case Refused(number, why):
                if (asked := self._asked.get(number)) is not None and not asked.done():
                    asked.set_exception(SandboxError(f"no worker could be forked: {why}"))
            case Ended(pid, wait_status):
                if (status := self._statuses.pop(pid, None)) is not None:
                    status.set_result(wait_status)

    def _born(self, number: int, pid: int, pidfd: int) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            status: asyncio.Future[int | None] = self._loop.create_future()
            if pidfd >= 0:
                self._statuses[pid] = status
            asked.set_result(Born(pid, pidfd, status))
        elif pidfd >= 0:  # whoever asked has given up
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def _lost(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._control)
        self._control.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(SandboxError("the process that workers are forked from died"))
        for status in self._statuses.values():
            status.set_result(None)
        self._statuses.clear()

    def __repr__(self) -> str:
        return f"<Link to zygote {self.pid}, {'up' if self.alive else 'down'}, {len(self._statuses)} workers>"
