"""Derived ids: a redelivered event emits the same ids again, so that readers can drop repeats."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from uuid import uuid4


def derived_id(*, source: str, cause: str, app: str, function: str, topic: str, nth: int) -> str:
    """The id of the `nth` (from 0) event that `function` emits to `topic` while handling event `cause` of `source`.

    128 bits of BLAKE2b as 32 hex digits, over the six fields in this order, each as a 4-byte big-endian length and
    its UTF-8 bytes (`nth` as decimal text), so that no two field lists hash the same bytes.
    """
    fields = _known_source(source) + _framed(cause) + _known_emit(app, function, topic, nth)
    return blake2b(fields, digest_size=16).hexdigest()


def fresh_id() -> str:
    """A random 128-bit id for an event that has no cause."""
    return uuid4().hex


def _framed(field: str) -> bytes:
    data = field.encode("utf-8", "surrogateescape")
    return len(data).to_bytes(4, "big") + data


# All but the cause are the same few again and again.
_known_source = lru_cache(maxsize=4096)(_framed)


@lru_cache(maxsize=4096)
def _known_emit(app: str, function: str, topic: str, nth: int) -> bytes:
    return b"".join(map(_framed, (app, function, topic, str(nth))))
