"""A group's mark on a partition: the committed offset, and progress as the text that Kafka keeps beside it.

The text is `hr1:` and base64 without padding. What does not begin so is another tool's, and no progress of ours.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import NamedTuple

_OURS = "hr1:"
_METADATA_LIMIT = 4096  # characters, Kafka's `offset.metadata.max.bytes`
PROGRESS_LIMIT = (_METADATA_LIMIT - len(_OURS)) * 3 // 4


class Mark(NamedTuple):
    """Everything below `watermark` is done; `metadata` is progress as text."""

    watermark: int
    metadata: str

    @classmethod
    def of(cls, watermark: int, progress: bytes) -> Mark:
        """The mark of this progress, `PROGRESS_LIMIT` bytes at most."""
        return cls(watermark, _OURS + b64encode(progress).decode().rstrip("="))

    @property
    def progress(self) -> bytes:
        """The progress; empty if there is none of ours, and bytes that are none if it is damaged."""
        if not self.metadata or not self.metadata.startswith(_OURS):
            return b""
        text = self.metadata[len(_OURS) :]
        try:
            return b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            return self.metadata.encode()  # it was ours and is damaged: what reads it is to notice
