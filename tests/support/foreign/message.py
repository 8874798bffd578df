"""A record, as every client has it."""

from __future__ import annotations

from dataclasses import dataclass

# Between fields, headers and records that are printed: none of them comes in the records of the tests.
UNIT, GROUP, RECORD = b"\x1f", b"\x1d", b"\x1e"

PATIENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Message:
    """A record. What is known only once it is written is -1 before; `timestamp` is in milliseconds since 1970."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = -1
    offset: int = -1
    timestamp: int = -1

    @property
    def content(self) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]:
        """What its writer gave, apart from place and time."""
        return self.key, self.value, self.headers
