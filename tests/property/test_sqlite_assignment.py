"""Shares of partitions on the embedded log: all given, even, and with as few moves as that allows."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from headrace.triggers.brokers.sqlite.assignment import assign

NAMES = [f"m{n}" for n in range(5)]
TOPICS = ["a", "b", "c"]

partitions = st.dictionaries(st.integers(1, 12), st.sampled_from(TOPICS), max_size=12)
members = st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(TOPICS)))
holders = st.dictionaries(st.integers(1, 12), st.sampled_from(NAMES))


def one_topic(names):
    return {name: {"a"} for name in names}


@given(partitions, members, holders, holders)
def test_every_partition_of_a_subscribed_topic_goes_to_exactly_one_who_subscribes(partitions, members, owners, meant):
    target = assign(partitions, members, owners, meant)
    subscribed = {topic for topics in members.values() for topic in topics}
    assert set(target) == {number for number, topic in partitions.items() if topic in subscribed}
    assert all(partitions[number] in members[name] for number, name in target.items())


@given(partitions, members, holders, holders)
def test_nobody_has_two_more_than_another_who_could_have_one_of_them(partitions, members, owners, meant):
    target = assign(partitions, members, owners, meant)
    shares = Counter(target.values())
    for number, name in target.items():
        least = min(shares[other] for other, topics in members.items() if partitions[number] in topics)
        assert shares[name] - least <= 1


@given(partitions, members, holders)
def test_what_was_made_is_not_changed_by_making_it_again(partitions, members, owners):
    target = assign(partitions, members, owners, {})
    assert assign(partitions, members, target, {}) == target
    assert assign(partitions, members, owners, target) == target


@given(st.integers(0, 12), st.integers(1, 5), st.data())
def test_among_equals_no_assignment_that_is_even_moves_fewer(count, size, data):
    names = NAMES[:size]
    owners = data.draw(st.dictionaries(st.integers(1, count or 1), st.sampled_from(NAMES)))
    owners = {number: name for number, name in owners.items() if number <= count}
    target = assign(dict.fromkeys(range(1, count + 1), "a"), one_topic(names), owners, {})
    moved = sum(1 for number, name in owners.items() if name in names and target[number] != name)
    assert moved == _fewest(Counter(name for name in owners.values() if name in names), names, count)


def _fewest(shares: Counter[str], names: list[str], count: int) -> int:
    """The excess over the kindest even shares, by trying all of them."""
    quota, rest = divmod(count, len(names))
    even = [quota + 1] * rest + [quota] * (len(names) - rest)
    tries = set(permutations(even))
    return min(sum(max(0, shares[name] - n) for name, n in zip(names, one, strict=True)) for one in tries)


@given(members, members)
def test_who_stays_does_not_lose_one_and_get_another_when_members_of_one_topic_come_or_go(before, after):
    partitions = dict.fromkeys(range(1, 9), "a")
    first = assign(partitions, one_topic(before), {}, {})
    second = assign(partitions, one_topic(after), first, {})
    if set(before) <= set(after) or set(after) <= set(before):
        for name in set(before) & set(after):
            had, has = ({n for n, owner in one.items() if owner == name} for one in (first, second))
            assert had <= has or has <= had


def test_of_moves_that_even_as_much_the_one_that_was_meant_is_made():
    partitions = dict.fromkeys(range(1, 5), "a")
    members = {"m0": {"a"}, "m1": {"a"}}
    owners = dict.fromkeys(partitions, "m0")
    assert assign(partitions, members, owners, {1: "m1", 2: "m1"}) == {1: "m1", 2: "m1", 3: "m0", 4: "m0"}


def test_many_partitions_are_shared_out_in_few_steps():
    partitions = {number: f"t{number % 3}" for number in range(3072)}
    members = {name: {"t0", "t1", "t2"} for name in NAMES}
    target = assign(partitions, members, dict.fromkeys(partitions, "m0"), {})
    assert set(Counter(target.values()).values()) == {614, 615}
