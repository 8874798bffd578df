"""Frames between the parent and a worker, over the worker's own stream socket.

A frame is a little-endian u32 length, then that many bytes of msgpack: an array whose first item is the frame's tag.
Structs are arrays: a field may only be added at the end and with a default, and unknown trailing items are ignored, so
that both ends of one version agree and a later parent can be told what it does not know. The first frame each way
carries `version`.

The worker's end of the socket is within reach of the handler, so **the parent trusts no frame**: the length is checked
before a byte of the body is kept, and only outcomes of events in flight on that worker are accepted, each once.

    parent                                   worker
      Start(target, function, environment) ->
                                          <- Imported()     if the function has a setup, which begins now
                                          <- Ready(code, manifest) | Broken(failure)
      Chunk(id, events)                    ->
                                          <- Report(chunk, first index, outcomes)   one or more for each chunk, in the
                                             order in which outcomes are known: with concurrency above 1, any order
      end of file                          ->  finishes what it has, exits 0
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from headrace.functions.errors import SandboxError
from headrace.sandbox.manifest import Manifest
from headrace.sandbox.outcome import Failure, Outcome

VERSION = 1

# A report is cut well below this by the worker; a chunk by the runtime. One event may be as large as a broker allows.
MAX_REPORT = 8 << 20
MAX_COMMAND = 128 << 20

_LENGTH = struct.Struct("<I")


class Target(msgspec.Struct, frozen=True, array_like=True):
    """Where user code is. `kind` is "file", "folder" or "module"; `path` a path, or a dotted name for a module.

    `root` is the folder put first on the worker's import path.
    """

    kind: str
    path: str
    root: str


class Outlet(NamedTuple):
    """A topic a function may emit to: its partitions, and how many bytes a record of it may have, None for any.

    `keyed`: it takes no record without a key.
    """

    partitions: int
    max_bytes: int | None = None
    keyed: bool = False


class Start(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=0):
    """The first frame: become a worker of `function`, or, with None, read the target's manifest.

    `environment` holds what the function's grants pass on, its secrets among it. `outlets` are the topics it may
    emit to. `timeout` (seconds) and `concurrency` are those in force, where settings may say otherwise than the code.
    `timed`: reports say how long each event took.
    """

    version: int
    target: Target
    function: str | None
    app: str
    cluster: str
    environment: dict[str, str]
    outlets: dict[str, Outlet]
    timeout: float | None = None
    concurrency: int | None = None
    timed: bool = False


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an event lay first."""

    topic: str
    partition: int
    offset: int


class Task(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event to run. `attempt` counts from 1; `epoch` is its lane's (see `headrace.runtime.lanes`).

    `timestamp` is the record's, in milliseconds since 1970. `headers` is a header block. `origin` is where the event
    lay first, if not here.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: bytes
    attempt: int = 1
    epoch: int = 0
    origin: Origin | None = None


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=1):
    """Events of one partition, those of a lane to be run in this order. `id` is unique within the worker's life."""

    id: int
    topic: str
    partition: int
    tasks: list[Task]


class Ready(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=0):
    """The target is imported and set up. `code` is its fingerprint; `manifest` is there if it was asked for."""

    version: int
    code: str
    manifest: Manifest | None = None


class Broken(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=1):
    """The worker cannot serve. `kind` is "declaration", "import", "missing" or "setup"; the message is for the user."""

    kind: str
    failure: Failure


class Report(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=2):
    """Outcomes of events `first`, `first + 1`, … of a chunk; None is `Done` without emits, by far the most frequent.

    `spent_ns` is the time the worker took for these events, decoding included. `each_ns`, where `Start` asked for it,
    is the time of each one's invocation, which events of a batch share; 0 for one that was not run.
    """

    chunk: int
    first: int
    outcomes: list[Outcome | None]
    spent_ns: int = 0
    each_ns: list[int] = []


class Imported(msgspec.Struct, frozen=True, array_like=True, tag_field="is", tag=3):
    """The target is imported, and what its function has to set up begins: that may take longer."""


Command = Start | Chunk
Reply = Ready | Broken | Report | Imported

_encoder = msgspec.msgpack.Encoder()
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Command | Reply) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Bytes in, frame bodies out. Raises `SandboxError` for a length over `limit`, before keeping any of its body."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of all frames that `data` completes."""
        self._buffer += data
        start, end = 0, len(self._buffer)
        try:
            while end - start >= 4:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if length > self._limit:
                    raise SandboxError(f"a frame of {length:,} bytes, over the limit of {self._limit:,}")
                if end - start - 4 < length:
                    break
                yield bytes(self._buffer[start + 4 : start + 4 + length])
                start += 4 + length
        finally:
            del self._buffer[:start]

    def __repr__(self) -> str:
        return f"<FrameBuffer, {len(self._buffer)} bytes of an unfinished frame>"
