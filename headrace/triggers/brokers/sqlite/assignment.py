"""Who is to have which partition of a group: even shares, with as few moves as they allow."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def assign(
    partitions: Mapping[int, str],
    members: Mapping[str, Collection[str]],
    owners: Mapping[int, str],
    meant: Mapping[int, str],
) -> dict[int, str]:
    """The member for each partition; one whose topic nobody subscribes to is left out.

    `partitions` are topics by number, `members` the topics each subscribes to. Nobody's share is larger by more than
    one than that of another who could have a partition of it. `owners` keep theirs but for that. What was `meant` to go
    elsewhere already goes there if that does: what was made once and is even is not made anew while it is carried out.
    """
    if (before := _as_meant(partitions, members, {**owners, **meant})) is not None:
        return before
    shares = _Shares(partitions, members)
    free = []
    for number, topic in partitions.items():
        kept = (name for name in (owners.get(number), meant.get(number)) if name in shares.able[topic])
        if (name := next(kept, None)) is not None:
            shares.give(number, name)
        elif shares.able[topic]:
            free.append(number)
    for number in free:
        shares.give(number, shares.least(partitions[number])[0])
    while (move := shares.best_move()) is not None:
        shares.move(*move, meant)
    return shares.target


def _as_meant(
    partitions: Mapping[int, str], members: Mapping[str, Collection[str]], meant: Mapping[int, str]
) -> dict[int, str] | None:
    """That very assignment, if it leaves nothing out and is even."""
    shares = _Shares(partitions, members)
    for number, topic in partitions.items():
        name = meant.get(number, "")
        if name in shares.able[topic]:
            shares.give(number, name)
        elif shares.able[topic]:
            return None
    return shares.target if shares.best_move() is None else None


class _Shares:
    """What each member is to have so far. `able` are the members that can have partitions of a topic."""

    def __init__(self, partitions: Mapping[int, str], members: Mapping[str, Collection[str]]) -> None:
        self.target: dict[int, str] = {}
        self.able = {topic: [name for name in members if topic in members[name]] for topic in partitions.values()}
        self._topics = partitions
        self._counts = dict.fromkeys(members, 0)
        self._held: dict[str, dict[str, list[int]]] = {name: {} for name in members}

    def give(self, number: int, name: str) -> None:
        """Let a member have that."""
        self.target[number] = name
        self._counts[name] += 1
        self._held[name].setdefault(self._topics[number], []).append(number)

    def least(self, topic: str) -> list[str]:
        """Those with the smallest share of all that can have partitions of the topic."""
        fewest = min(self._counts[name] for name in self.able[topic])
        return [name for name in self.able[topic] if self._counts[name] == fewest]

    def best_move(self) -> tuple[str, str] | None:
        """From whom, and of which topic, a move would even most; None if shares are even."""
        best, most = None, 1
        for giver, topics in self._held.items():
            for topic, numbers in topics.items():
                gain = self._counts[giver] - self._counts[self.least(topic)[0]] if numbers else 0
                if gain > most:
                    best, most = (giver, topic), gain
        return best

    def move(self, giver: str, topic: str, meant: Mapping[int, str]) -> None:
        """Take one from that member, for one of those with the smallest share."""
        numbers, takers = self._held[giver][topic], self.least(topic)
        number = next((number for number in numbers if meant.get(number) in takers), numbers[-1])
        taker = meant.get(number, "")
        numbers.remove(number)
        self._counts[giver] -= 1
        self.give(number, taker if taker in takers else takers[0])

    def __repr__(self) -> str:
        return f"<_Shares: {self._counts}>"
