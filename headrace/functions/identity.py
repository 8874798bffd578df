"""Derived ids: a redelivered event emits the same ids again, so that readers can drop repeats."""

from __future__ import annotations

from hashlib import blake2b
from uuid import uuid4


def derived_id(*, source: str, cause: str, app: str, function: str, topic: str, nth: int) -> str:
    """The id of the `nth` (from 0) event that `function` emits to `topic` while handling event `cause` of `source`.

    128 bits of BLAKE2b as 32 hex digits, over the six fields in this order, each as a 4-byte big-endian length and
    its UTF-8 bytes (`nth` as decimal text), so that no two field lists hash the same bytes.
    """
    digest = blake2b(digest_size=16)
    for field in (source, cause, app, function, topic, str(nth)):
        data = field.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return digest.hexdigest()


def fresh_id() -> str:
    """A random 128-bit id for an event that has no cause."""
    return uuid4().hex
