"""The page: 4 KiB shared between the parent and one worker, so that the parent can see what runs without asking.

Words of 8 bytes, native order. The parent writes word 0, the worker all others. A handler can reach the page, so what
the worker wrote is an untrusted hint: it can only mislead about the function's own events.

    0              of how many chunks the worker is recalled: it starts no further event of the first n chunks sent
    1              the time (ns) for which the worker's clock stood still in its life: see below
    2              when the worker last looked after its clock (ns, monotonic); 0: it does not
    3, 4, 5        a slot: chunk id, index in the chunk + 1 (0: the slot is free), start on the worker's clock (ns)
    6, 7, 8 …      further slots

**The worker's clock** is the monotonic one less word 1. It stands still for the other events while one of them blocks
the event loop that they share (see `deadlines`). Where one event runs at a time it never stands still.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

SIZE = 4096

_RECALLED, _STOOD, _LOOKED, _SLOTS = range(4)
_SLOT = 3
SLOTS = (SIZE // 8 - _SLOTS) // _SLOT

UNATTENDED_NS = 1_000_000_000  # a worker that has not looked for so long cannot: its clock is taken to stand still


@dataclass(frozen=True, slots=True)
class Slot:
    """An event that is running, since `started_ns` on the worker's clock."""

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
        for at in range(_SLOTS, _SLOTS + SLOTS * _SLOT, _SLOT):
            index = words[at + 1]
            slot = Slot(words[at], index - 1, words[at + 2])
            if index and words[at + 1] == index:  # else the worker went on to another event while we read
                slots.append(slot)
        return slots

    def ages(self, now_ns: int) -> list[tuple[Slot, int]]:
        """The events the worker says it is running, and for how long each, on the worker's clock at `now_ns`.

        Where several run and the worker has not looked after its clock lately, something holds the interpreter, and
        nobody can tell what: none of them grows older.
        """
        slots, looked = self.running(), self.words[_LOOKED]
        clock = min(now_ns, looked + UNATTENDED_NS) if looked and len(slots) > 1 else now_ns
        clock -= self.words[_STOOD]
        return [(slot, clock - slot.started_ns) for slot in slots]

    # -- the worker ---------------------------------------------------------------------------------------------------

    @property
    def recalled(self) -> int:
        """Of how many chunks the worker is recalled."""
        return self.words[_RECALLED]

    def begin(self, chunk: int, index: int, started_ns: int, slot: int = 0) -> None:
        """An event is running from now on."""
        words, at = self.words, _SLOTS + _SLOT * slot
        words[at] = chunk
        words[at + 2] = started_ns
        words[at + 1] = index + 1  # last: a slot with an index is whole

    def end(self, slot: int = 0) -> None:
        """It has ended."""
        self.words[_SLOTS + 1 + _SLOT * slot] = 0

    def move_start(self, slot: int, started_ns: int) -> None:
        """The event in that slot counts as started then."""
        self.words[_SLOTS + 2 + _SLOT * slot] = max(0, started_ns)

    def stood(self, total_ns: int) -> None:
        """For how long the clock stood still in all."""
        self.words[_STOOD] = total_ns

    def looked(self, now_ns: int) -> None:
        """The clock is being looked after."""
        self.words[_LOOKED] = now_ns

    def close(self) -> None:
        """Unmap the page."""
        self.words.release()
        self._memory.close()

    def __repr__(self) -> str:
        running = ", ".join(f"{slot.chunk}[{slot.index}]" for slot in self.running()) or "nothing"
        return f"<Page: running {running}, recalled from {self.recalled} chunks>"
