"""Messages between the parent and the zygote, over a SOCK_SEQPACKET pair: one message each packet, msgpack.

    parent                                        zygote
                                               <- Forked(0, its own pid)     it is up
      Fork(number, folder, memory) + 4 fds     ->
                                               <- Forked(number, pid) + pidfd | Refused(number, why)
                                               <- Ended(pid, wait status)    one for each worker
      end of file                              ->  kills all workers and what they left behind, exits

The file descriptors of a `Fork` are the worker's end of its socket, its stdout, its stderr, and its page; a fifth one
is a terminal, for a worker that is to be debugged. Nothing here is about user code, events or secrets: those go over
the worker's own socket.
"""

from __future__ import annotations

import array
import socket

import msgspec

MAX_PACKET = 8192


class Fork(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=0):
    """Fork a worker. `folder` is its own temporary one; `memory` its limit in bytes, 0 for no limits at all."""

    number: int
    folder: str
    memory: int


class Forked(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=0):
    """A worker was forked. Its pidfd comes with this, opened before anyone could reap it."""

    number: int
    pid: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=1):
    """No worker could be forked."""

    number: int
    why: str


class Ended(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=2):
    """A worker ended, with this wait status."""

    pid: int
    status: int


Answer = Forked | Refused | Ended

encode = msgspec.msgpack.Encoder().encode
decode_fork = msgspec.msgpack.Decoder(Fork).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The next packet and the file descriptors that came with it, not inheritable; an empty one at the end of file.

    `socket.recv_fds` of Python 3.11 cannot ask for close-on-exec, and every program run would get them.
    """
    room = socket.CMSG_SPACE(8 * array.array("i").itemsize)
    packet, ancillary, _, _ = control.recvmsg(MAX_PACKET, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return packet, list(fds)
