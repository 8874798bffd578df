"""The heart of a member: its beats, when they are due, and what keeps it known to be alive between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.functions.errors import BrokerError
from headrace.triggers.brokers.sqlite import groups, pulse
from headrace.triggers.brokers.sqlite.coordinator import Beat, Seat
from headrace.triggers.brokers.sqlite.pulse import Pulse
from headrace.triggers.brokers.sqlite.reader import Reader
from headrace.triggers.brokers.sqlite.vigil import Vigil
from headrace.triggers.brokers.sqlite.watch import Watch
from headrace.triggers.brokers.sqlite.writer import Writer

_CALM_S = 0.05  # under load every commit rings
_AGAIN_S = 0.5
_PARTING_S = 5.0


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. A member that did not beat for `session` is put out; one that does not give up a partition within
    `rebalance` has it taken. A death is noticed without either.
    """

    session: float = 10.0
    rebalance: float = 30.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What a member works with. `run` is the folder for pulses."""

    writer: Writer
    reader: Reader
    watch: Watch
    run: Path
    times: Times


class Heart:
    """One member's. It lives from `start` to `stop`."""

    def __init__(self, desk: Desk, group: str, member: str) -> None:
        self._desk = desk
        self._group = group
        self._member = member
        self._pulse: Pulse | None = None
        self._vigil = Vigil(desk.run, self.urge)
        self._bell = desk.watch.bell()
        self._urged = asyncio.Event()
        self._generation = 0
        self._last_s = time.monotonic()
        self._interval_s = 0.0

    def __repr__(self) -> str:
        return f"<Heart of {self._member}: last beat {self.silent_s:.1f} s ago{', late' if self.is_late else ''}>"

    @property
    def silent_s(self) -> float:
        """How long ago the last good beat began."""
        return time.monotonic() - self._last_s

    @property
    def is_late(self) -> bool:
        """Whether the session may be over: then others may have what the member had."""
        return self.silent_s > self._desk.times.session

    def start(self) -> None:
        """Begin to live. Raises `BrokerError` if that cannot be shown."""
        self._pulse = Pulse.begin(self._desk.run, self._member)
        self._last_s = time.monotonic()

    async def beat(self, topics: tuple[str, ...], held: Mapping[int, int], *, claims: bool) -> groups.Round:
        """Beat once, holding these epochs. Raises `BrokerError`; the next pause is shorter then."""
        self._urged.clear()
        if self._pulse is not None:
            self._pulse.renew()
        times, began_s = self._desk.times, time.monotonic()
        self._interval_s = min(times.session / 3, _AGAIN_S)
        seat = Seat(self._member, topics, 0, _ms(times.session), pulse.boot_id())
        said = Beat(seat, held, claims=claims, patience_ms=_ms(times.rebalance))
        found = await self._desk.writer.do(
            partial(groups.beat, group=self._group, said=said, now_ms=_now_ms, is_dead=self._is_dead)
        )
        self._last_s = began_s
        self._generation = found.generation
        self._interval_s = min(times.session / 3, (found.standing.due_ms or _ms(times.session)) / 1000)
        self._vigil.watch(found.peers)
        if found.standing.returned:
            pulse.sweep(self._desk.run, found.known)
        return found

    def urge(self) -> None:
        """Have the next beat at once."""
        self._urged.set()
        self._bell.set()

    async def pause(self) -> None:
        """Until it is time to beat again, or somebody urges, or the group has news."""
        until_s = time.monotonic() + self._interval_s
        try:
            while not self._urged.is_set():
                self._bell.clear()
                if await self._desk.reader.do(partial(groups.generation, group=self._group)) != self._generation:
                    return
                if (left_s := until_s - time.monotonic()) <= 0:
                    return
                await self._desk.watch.wait(self._bell, left_s)
                await self._rest(min(_CALM_S, until_s - time.monotonic()))
        except BrokerError:  # the beat that follows says what is wrong
            await self._rest(_AGAIN_S)

    async def stop(self) -> None:
        """Be out: of the group, if that can be written, else as one who is dead."""
        self._vigil.close()
        if self._pulse is None:
            return
        left = False
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_PARTING_S):
                await self._desk.writer.do(partial(groups.leave, group=self._group, id=self._member, now_ms=_now_ms))
                left = True
        self._pulse.end(unlink=left)

    def _is_dead(self, member: str) -> bool:
        return pulse.is_dead(self._desk.run, member)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._urged.wait()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
