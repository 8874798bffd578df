"""The header block: a record's headers as one byte string, forwarded and stored without being looked into.

Format: empty bytes for no headers; where no name comes twice, as nearly always, a msgpack map of names (str) to values
(bin), which is read twice as fast; else an array of [name, value] pairs. Either is read. Order and duplicates are kept;
values are any bytes. A null header value (Kafka has them) is written as empty bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Header = tuple[str, bytes]

_OVERHEAD = 128  # of a record, and of a batch that holds it alone

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes] | list[Header]).decode


def pack(headers: Iterable[Header]) -> bytes:
    """The block of these headers."""
    pairs = list(headers)
    unique = dict(pairs)
    return _encode(unique if len(unique) == len(pairs) else pairs) if pairs else b""


def record_size(key: bytes | None, value: bytes | None, block: bytes) -> int:
    """About the bytes of a record, alone in a batch."""
    return _OVERHEAD + len(key or b"") + len(value or b"") + len(block)


def unpack(block: bytes) -> list[Header]:
    """The headers of a block. Raises `msgspec.DecodeError` for bytes that are none."""
    found = _decode(block) if block else []
    return list(found.items()) if isinstance(found, dict) else found


def by_name(block: bytes) -> dict[str, bytes]:
    """The headers of a block by name; of several with one name the last. Raises what `unpack` raises."""
    found = _decode(block) if block else {}
    return found if isinstance(found, dict) else dict(found)
