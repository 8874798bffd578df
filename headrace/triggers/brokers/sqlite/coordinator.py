"""What happens in a group when one of its members says that it is alive.

There is no coordinator process: each member decides for all of them, in a write transaction of its own, on what the log
says of the group. Rebalances are cooperative: whoever has a partition that another is to have gives it up in its own
time, up to a limit, and all else goes on meanwhile. A pure state machine: time and the death of others are inputs.

All times are milliseconds of the monotonic clock, which begins anew at each boot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headrace.triggers.brokers.sqlite.assignment import assign


@dataclass(frozen=True, slots=True)
class Seat:
    """A member. `beat_ms` is when it was last alive; its session is over `session_ms` after that."""

    id: str
    topics: tuple[str, ...]
    beat_ms: int
    session_ms: int
    boot: str


@dataclass(frozen=True, slots=True)
class Share:
    """A partition: who owns it since its last `epoch`, who is to, and since when these two differ."""

    epoch: int = 0
    owner: str | None = None
    wanted: str | None = None
    since_ms: int | None = None


_NOBODYS = Share()


@dataclass(slots=True)
class Table:
    """A group as the log has it: mutable, what is decided is written into it.

    `partitions` are the topics, by number, of all partitions that some member subscribes to.
    """

    partitions: Mapping[int, str]
    seats: dict[str, Seat]
    shares: dict[int, Share]


@dataclass(frozen=True, slots=True)
class Beat:
    """What a member says: where it is, which epochs it holds, by partition, and whether it is free to take more.

    `patience_ms` is how long it leaves to another what it is to have.
    """

    seat: Seat
    held: Mapping[int, int]
    claims: bool
    patience_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows for the member that beat.

    `giving`: what it holds and is to let go of, or has lost already. `gained`: the epochs of what it owns from now on.
    `settled`: it has all it is to have, and nothing else. `due_ms`: when patience with another ends, from now. `news`:
    others should look. `gone`: members that were put out; `forced`: what was taken from one that is not gone.
    `returned`: it had been put out itself, or is new.
    """

    giving: tuple[int, ...]
    gained: Mapping[int, int]
    settled: bool
    due_ms: int | None
    news: bool
    gone: tuple[str, ...]
    forced: tuple[int, ...]
    returned: bool


def beat(table: Table, said: Beat, is_dead: Callable[[str], bool]) -> Standing:
    """Take note that a member is alive, put those out that are not, and give it what is free and meant for it."""
    me, now_ms = said.seat, said.seat.beat_ms
    before = dict(table.shares)
    known = table.seats.get(me.id)
    gone = _expire(table, me, is_dead)
    table.seats[me.id] = me
    _free(table, said)
    if known is None or known.topics != me.topics or not _is_planned(table):
        _plan(table, now_ms)
    news = known is None or any(_is_news(before.get(number, _NOBODYS), one) for number, one in table.shares.items())
    giving = tuple(number for number in said.held if not _keeps(table, me.id, number, said.held[number]))
    forced = _overdue(table, said) if said.claims and not giving else ()
    gained = _claim(table, me.id, forced) if said.claims and not giving else {}
    mine = [number for number, one in table.shares.items() if one.wanted == me.id]
    return Standing(
        giving=giving,
        gained=gained,
        settled=not giving and all(number in said.held or number in gained for number in mine),
        due_ms=min(
            (_patience(table.shares[number], said) for number in mine if _is_others(table, number)), default=None
        ),
        news=news,
        gone=gone,
        forced=forced,
        returned=known is None,
    )


def leave(table: Table, id: str, now_ms: int) -> None:  # noqa: A002
    """Put a member out that wants it. Whoever has its seat gets what it had."""
    table.seats.pop(id, None)
    for number, share in table.shares.items():
        if share.owner == id:
            table.shares[number] = replace(share, owner=None, since_ms=None)
    _plan(table, now_ms)


def _expire(table: Table, me: Seat, is_dead: Callable[[str], bool]) -> tuple[str, ...]:
    unheard_ms = _unheard(table.seats.get(me.id), me)
    others = [seat for seat in table.seats.values() if seat.id != me.id]
    gone = tuple(one.id for one in others if _is_void(one, me, unheard_ms) or is_dead(one.id))
    for id_ in gone:
        del table.seats[id_]
    return gone


def _unheard(mine: Seat | None, me: Seat) -> float:
    """For how long, of late, others may have had no chance to beat: nobody could write, as far as this one knows.

    That is for how long it could not itself, beyond the third of a session that passes between beats. Who is new, or
    was put out, cannot know; if others are late, its next beat will tell.
    """
    if mine is None:
        return math.inf
    return max(0.0, me.beat_ms - mine.beat_ms - mine.session_ms / 3)


def _is_void(seat: Seat, me: Seat, unheard_ms: float) -> bool:
    if seat.boot != me.boot or seat.beat_ms > me.beat_ms:  # the clock began anew, or is another one
        return True
    return me.beat_ms - seat.beat_ms - unheard_ms > seat.session_ms


def _free(table: Table, said: Beat) -> None:
    """Take from those who are gone what they had, and from this one what it does not hold any more, or never did."""
    for number, share in table.shares.items():
        mine = share.owner == said.seat.id
        if share.owner is not None and (share.owner not in table.seats or (mine and number not in said.held)):
            table.shares[number] = replace(share, owner=None, since_ms=None)


def _is_planned(table: Table) -> bool:
    subscribed = {topic for seat in table.seats.values() for topic in seat.topics}
    for number, topic in table.partitions.items():
        wanted = table.shares.get(number, _NOBODYS).wanted
        if topic not in table.seats[wanted].topics if wanted in table.seats else topic in subscribed:
            return False
    return all(share.wanted is None or number in table.partitions for number, share in table.shares.items())


def _plan(table: Table, now_ms: int) -> None:
    owners = {n: share.owner for n, share in table.shares.items() if share.owner and share.owner in table.seats}
    meant = {n: share.wanted for n, share in table.shares.items() if share.wanted and share.wanted != share.owner}
    topics = {seat.id: seat.topics for seat in table.seats.values()}
    target = assign(table.partitions, topics, owners, meant)
    for number in {**table.shares, **table.partitions}:
        share, wanted = table.shares.get(number, _NOBODYS), target.get(number)
        since_ms = None if share.owner in {None, wanted} else min(now_ms, share.since_ms or now_ms)
        table.shares[number] = replace(share, wanted=wanted, since_ms=since_ms)


def _is_news(before: Share, after: Share) -> bool:
    return before.wanted != after.wanted or (before.owner is not None and after.owner != before.owner)


def _keeps(table: Table, id_: str, number: int, epoch: int) -> bool:
    share = table.shares.get(number, _NOBODYS)
    return (share.owner, share.wanted, share.epoch) == (id_, id_, epoch)


def _is_others(table: Table, number: int) -> bool:
    share = table.shares[number]
    return share.owner not in {None, share.wanted}


def _patience(share: Share, said: Beat) -> int:
    """How many milliseconds are left to the owner of a share that is to go to the one that beat."""
    now_ms = said.seat.beat_ms
    return max(0, min(now_ms, share.since_ms or now_ms) + said.patience_ms - now_ms)


def _overdue(table: Table, said: Beat) -> tuple[int, ...]:
    mine = [number for number, share in table.shares.items() if share.wanted == said.seat.id]
    return tuple(n for n in mine if _is_others(table, n) and _patience(table.shares[n], said) == 0)


def _claim(table: Table, id_: str, forced: tuple[int, ...]) -> dict[int, int]:
    gained = {}
    for number, share in table.shares.items():
        if share.wanted == id_ and (share.owner is None or number in forced):
            gained[number] = share.epoch + 1
            table.shares[number] = Share(share.epoch + 1, id_, id_)
    return gained
