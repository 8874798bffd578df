"""The page: 4 KiB shared between the parent and one worker, so that the parent can see what runs without asking.

Words of 8 bytes, native order. The parent writes word 0, the worker all others. A handler can reach the page, so what
the worker wrote is an untrusted hint: it can only mislead about the function's own events.

    0              of how many chunks the worker is recalled: it starts no further event of the first n chunks sent
    1              events finished in the worker's life
    2, 3, 4        a slot: chunk id, index in the chunk + 1 (0: the slot is free), start on the monotonic clock (ns)
    5, 6, 7 …      further slots
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

SIZE = 4096

_RECALLED, _FINISHED, _SLOTS = 0, 1, 2
_SLOT = 3


@dataclass(frozen=True, slots=True)
class Slot:
    """An event that is running."""

    chunk: int
    index: int
    started_ns: int


def create_page() -> int:
    """A file descriptor of a fresh page."""
    fd = os.memfd_create("headrace-page", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


class Page:
    """One end's view of a page. Does not take the file descriptor over."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SIZE)
        self.words = memoryview(self._memory).cast("Q")

    # -- the parent ---------------------------------------------------------------------------------------------------

    def recall(self, chunks: int) -> None:
        """The worker is to start no further event of the first `chunks` chunks that were sent to it."""
        self.words[_RECALLED] = chunks

    def running(self) -> list[Slot]:
        """The events the worker says it is running."""
        words = self.words
        slots = []
        for at in range(_SLOTS, SIZE // 8 - _SLOT + 1, _SLOT):
            index = words[at + 1]
            slot = Slot(words[at], index - 1, words[at + 2])
            if index and words[at + 1] == index:  # else the worker went on to another event while we read
                slots.append(slot)
        return slots

    @property
    def finished(self) -> int:
        """How many events the worker says it has finished."""
        return self.words[_FINISHED]

    # -- the worker ---------------------------------------------------------------------------------------------------

    @property
    def recalled(self) -> int:
        """Of how many chunks the worker is recalled."""
        return self.words[_RECALLED]

    def begin(self, chunk: int, index: int, started_ns: int) -> None:
        """An event is running from now on."""
        words = self.words
        words[_SLOTS] = chunk
        words[_SLOTS + 2] = started_ns
        words[_SLOTS + 1] = index + 1  # last: a slot with an index is whole

    def end(self) -> None:
        """The running event has ended."""
        words = self.words
        words[_SLOTS + 1] = 0
        words[_FINISHED] += 1

    def close(self) -> None:
        """Unmap the page."""
        self.words.release()
        self._memory.close()

    def __repr__(self) -> str:
        running = ", ".join(f"{slot.chunk}[{slot.index}]" for slot in self.running()) or "nothing"
        return f"<Page: running {running}, {self.finished} finished, recalled from {self.recalled} chunks>"
