"""The worker's end of its socket: commands in, the first replies out. Reports have their own way (see `reports`)."""

from __future__ import annotations

import asyncio
import os
import socket

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
    """The worker's end of its socket: blocking to send, either way to receive."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self._frames = FrameBuffer(MAX_COMMAND)
        os.register_at_fork(after_in_child=self.socket.close)  # a child of user code would steal frames

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
        while data := self.socket.recv(_RECEIVE):
            if commands := self._decode(data):
                return commands
        return []

    async def receive_soon(self) -> list[Command]:
        """The same on an event loop, which goes on meanwhile."""
        while True:
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
        try:
            data = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        return self._decode(data) if data else None

    def send(self, reply: Imported | Ready | Broken) -> None:
        """Send one of the first frames; reports have their own way."""
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
            loop.remove_reader(self.socket)

    def __repr__(self) -> str:
        return f"<Connection {self.socket.fileno()}, {self._frames!r}>"
