"""As much of Kafka's protocol as a broker's keeper needs: one blocking request, one response, over a plain listener."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

PATIENCE = 30.0  # seconds for connecting, and for each read


def string(text: str | None) -> bytes:
    """A nullable string."""
    raw = None if text is None else text.encode()
    return struct.pack(">h", -1) if raw is None else struct.pack(">h", len(raw)) + raw


def compact(raw: bytes) -> bytes:
    """Compact bytes, or a compact string; shorter than 127 bytes."""
    assert len(raw) < 127
    return bytes([len(raw) + 1]) + raw


@dataclass
class Response:
    """The bytes of an answer, read from the front."""

    raw: bytes
    at: int = 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(f">{form}", self.raw, self.at)
        self.at += struct.calcsize(f">{form}")
        return int(value)

    def text(self) -> str | None:
        size = self.take("h")
        if size < 0:
            return None
        self.at += size
        return self.raw[self.at - size : self.at].decode()

    def compact_text(self) -> str | None:
        size = self.take("B") - 1
        if size < 0:
            return None
        self.at += size
        return self.raw[self.at - size : self.at].decode(errors="replace")


def call(port: int, api: int, version: int, body: bytes, *, flexible: bool = False) -> Response:
    """Ask the broker on this port of 127.0.0.1; `OSError` if it does not answer."""
    head = struct.pack(">hhi", api, version, 7) + string("headrace-tests") + (b"\0" if flexible else b"")
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(struct.pack(">i", len(head + body)) + head + body)
        with connection.makefile("rb") as stream:
            size = stream.read(4)
            raw = stream.read(struct.unpack(">i", size)[0]) if len(size) == 4 else b""
    if not raw:
        raise ConnectionError("the broker closed the connection")
    return Response(raw, 5 if flexible else 4)
