"""Room: how much of what was decided still fits into the progress that a broker keeps for a partition.

The rule is that progress is never cut: what does not fit is not decided yet, and waits outside until what holds the
watermark back has ended. So the event at the watermark and those that are charged already always have room: to conclude
them makes progress smaller, or at most by one entry larger, for which there is a reserve.
"""

from __future__ import annotations

from headrace.runtime.progress import Progress

FULL = 0.75
"""The part of the limit from which on nothing more is fetched."""

_MOST_BYTES = 32  # that one more event takes: a range, or an entry of the ledger, with offsets as large as may be
_LAST_BYTES = 64  # for the charge of the event at the watermark, and for custody
_RESERVE_BYTES = 2 * _MOST_BYTES  # for charges that cannot wait


class Room:
    """The room in a partition's progress. `limit` is in bytes, None for no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._size = 0
        self._since = 0

    def encoded(self, progress: Progress) -> bytes:
        """The progress as bytes, from which on room is reckoned."""
        data = progress.encode()
        self._size, self._since = len(data), 0
        return data

    def take(self, progress: Progress, changes: int = 1, *, urgent: bool = False) -> bool:
        """Take the room of so many more ranges or entries; False, having taken none, if that might be too much.

        `urgent`: out of the reserve, too.
        """
        if self._limit is None:
            return True
        most = self._limit - _LAST_BYTES - (0 if urgent else _RESERVE_BYTES) - changes * _MOST_BYTES
        if self._size + self._since > most:
            self.encoded(progress)
            if self._size > most:
                return False
        self._since += changes * _MOST_BYTES
        return True

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._limit is not None

    @property
    def shortage(self) -> str | None:
        """Why nothing more is to be fetched, if so."""
        if self._limit is None or self._size < FULL * self._limit:
            return None
        return f"progress takes {self._size} of {self._limit} bytes: too many events wait between those done"

    def __repr__(self) -> str:
        return f"<Room: {self._size} of {self._limit or 'any number of'} bytes taken>"
