"""The worker's end of its socket: commands in, the first replies out. Reports have their own way (see `reports`).

**A child that user code forked** has a copy of it, and of the event loop. It would steal frames and what wakes the
loop, report what is not its to report, and by closing its loop take the parent's sockets out of the epoll they share.
So its copy of the socket is closed at once, and where it comes back from user code it ends: it serves nobody.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from headrace.sandbox.wire import (
    MAX_COMMAND,
    Broken,
    Command,
    FrameBuffer,
    Imported,
    Ready,
    Start,
    decode_command,
    frame,
)

_RECEIVE = 256 << 10


class Connection:
    """The worker's end of its socket: blocking to send, either way to receive.

    `is_child` says that this process is not the worker, but was forked from it by user code.
    """

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self._frames = FrameBuffer(MAX_COMMAND)
        self.is_child = False
        self._loop: asyncio.AbstractEventLoop | None = None
        os.register_at_fork(after_in_child=self._forked)

    def end_child(self) -> None:
        """End this process if it is a child."""
        if self.is_child:
            os._exit(0)

    @contextmanager
    def guarded(self, loop: asyncio.AbstractEventLoop | None = None) -> Iterator[None]:
        """No child comes out of this, nor to a further turn of `loop`: the one that handlers run on, if one does."""
        self._loop = loop
        try:
            yield
        finally:
            self.end_child()
            self._loop = None

    def _forked(self) -> None:
        self.is_child = True
        self.socket.close()
        if self._loop is not None:
            with suppress(RuntimeError):  # of a loop in debug mode: the thread that forked is not the loop's
                self._loop.call_soon(os._exit, 0)

    def receive_start(self) -> Start | None:
        """The first command; None if the parent ended before it."""
        match self.receive():
            case [Start() as start]:  # the parent sends nothing else before it has an answer
                return start
            case []:
                return None
            case other:
                raise TypeError(f"the first commands are {other!r}, not one Start")

    def receive(self) -> list[Command]:
        """The next commands; none at the end."""
        self.end_child()
        while data := self.socket.recv(_RECEIVE):
            if commands := self._decode(data):
                return commands
        return []

    async def receive_soon(self) -> list[Command]:
        """The same on an event loop, which goes on meanwhile."""
        while True:
            self.end_child()
            try:
                data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                await self._readable()
                continue
            if not data:
                return []
            if commands := self._decode(data):
                await asyncio.sleep(0)  # a handler that never suspends must not starve the tasks it started
                return commands

    async def receive_now(self) -> list[Command]:
        """The same without an event loop: never suspends."""
        return self.receive()

    def poll(self) -> list[Command] | None:
        """The commands that are there, without waiting; None at the end."""
        self.end_child()
        try:
            data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        return self._decode(data) if data else None

    def send(self, reply: Imported | Ready | Broken) -> None:
        """Send one of the first frames; reports have their own way."""
        self.end_child()
        self.socket.sendall(frame(reply))

    def _decode(self, data: bytes) -> list[Command]:
        return [decode_command(body) for body in self._frames.feed(data)]

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self.socket, readable.set)
        try:
            await readable.wait()
        finally:
            self.end_child()
            loop.remove_reader(self.socket)

    def __repr__(self) -> str:
        return f"<Connection {self.socket.fileno()}, {self._frames!r}>"
