"""Records as aiokafka reads them, made into ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.runtime.ports import Record
from headrace.sandbox.headers import pack


def records_of(found: Iterable[Any]) -> list[Record]:
    """Our records of aiokafka's. A null header value becomes empty bytes."""
    return [
        Record(
            one.offset,
            one.timestamp,
            one.key,
            one.value,
            pack([(name, value or b"") for name, value in one.headers]) if one.headers else b"",
        )
        for one in found
    ]
