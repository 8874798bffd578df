"""The header block: a record's headers as one byte string, forwarded and stored without being looked into.

Format: empty bytes for no headers, else a msgpack array of [name: str, value: bin] pairs. Order and duplicates are
kept; values are any bytes. A null header value (Kafka has them) is written as empty bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Header = tuple[str, bytes]

_OVERHEAD = 128  # of a record, and of a batch that holds it alone

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Header]).decode


def pack(headers: Iterable[Header]) -> bytes:
    """The block of these headers."""
    pairs = list(headers)
    return _encode(pairs) if pairs else b""


def record_size(key: bytes | None, value: bytes | None, block: bytes) -> int:
    """About the bytes of a record, alone in a batch."""
    return _OVERHEAD + len(key or b"") + len(value or b"") + len(block)


def unpack(block: bytes) -> list[Header]:
    """The headers of a block. Raises `msgspec.DecodeError` for bytes that are none."""
    return _decode(block) if block else []
