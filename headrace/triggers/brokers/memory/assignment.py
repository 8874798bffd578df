"""Who gets which partition: as few moves as even shares allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.runtime.ports import Partition


def assign(
    partitions: Sequence[Partition],
    members: Mapping[str, Sequence[str]],
    current: Mapping[Partition, str],
    wanted: Mapping[Partition, str] | None = None,
) -> dict[Partition, str]:
    """The member of each partition; one whose topic nobody subscribes to is left out.

    `members` are the topics of each, in the order they joined; among equals the first is chosen. Members of the same
    topics end with shares that differ by one at most, and nobody loses a partition but to make them so. What is
    `wanted` at a member that can have it goes there, even or not.
    """
    able = {partition: [name for name, topics in members.items() if partition[0] in topics] for partition in partitions}
    fixed = {p: name for p, name in (wanted or {}).items() if name in able.get(p, ())}
    target = {p: name for p in partitions if (name := fixed.get(p, current.get(p, ""))) in able[p]}
    shares = dict.fromkeys(members, 0)
    for name in target.values():
        shares[name] += 1
    for partition in partitions:
        if partition not in target and able[partition]:
            name = min(able[partition], key=shares.__getitem__)
            target[partition] = name
            shares[name] += 1
    while move := _move([p for p in target if p not in fixed], target, able, shares):
        partition, name = move
        shares[target[partition]] -= 1
        shares[name] += 1
        target[partition] = name
    return {partition: target[partition] for partition in partitions if partition in target}


def _move(
    movable: Sequence[Partition],
    target: Mapping[Partition, str],
    able: Mapping[Partition, Sequence[str]],
    shares: Mapping[str, int],
) -> tuple[Partition, str] | None:
    """The move that evens most, the last partition of a member first; None if shares are even."""
    best: tuple[int, Partition, str] | None = None
    for partition in reversed(movable):
        name = min(able[partition], key=shares.__getitem__)
        gain = shares[target[partition]] - shares[name]
        if gain >= 2 and (best is None or gain > best[0]):
            best = (gain, partition, name)
    return None if best is None else best[1:]
