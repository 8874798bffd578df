"""Shares of partitions: all given, even, and with as few moves as that allows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.triggers.brokers.memory.assignment import assign

NAMES = [f"m{n}" for n in range(6)]
PARTITIONS = [(topic, number) for topic in ("a", "b") for number in range(4)]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True)),
    st.dictionaries(st.sampled_from(PARTITIONS), st.sampled_from(NAMES)),
    st.dictionaries(st.sampled_from(PARTITIONS), st.sampled_from(NAMES)),
)
def test_each_partition_somebody_can_have_goes_to_one_who_can_and_wishes_are_granted(members, current, wanted):
    target = assign(PARTITIONS, members, current, wanted)
    subscribed = {topic for topics in members.values() for topic in topics}
    assert set(target) == {p for p in PARTITIONS if p[0] in subscribed}
    assert all(partition[0] in members[name] for partition, name in target.items())
    for partition, name in wanted.items():
        if partition[0] in members.get(name, ()):
            assert target[partition] == name


def test_different_topics_are_evened_as_far_as_they_can_be():
    target = assign(PARTITIONS, {"both": ["a", "b"], "only_a": ["a"]}, {})
    assert Counter(target.values()) == {"both": 4, "only_a": 4}
    assert all(target["b", n] == "both" for n in range(4))


class Membership(RuleBasedStateMachine):
    """Members come and go; the assignment is made anew each time from the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, list[str]] = {}
        self.before: dict = {}
        self.target: dict = {}

    @precondition(lambda self: len(self.members) < len(NAMES))
    @rule(data=st.data())
    def join(self, data):
        name = data.draw(st.sampled_from([n for n in NAMES if n not in self.members]))
        self.members[name] = ["a", "b"]
        self._assign()

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data):
        del self.members[data.draw(st.sampled_from(list(self.members)))]
        self._assign()

    def _assign(self):
        self.before, self.target = self.target, assign(PARTITIONS, self.members, self.target)

    @invariant()
    def all_are_given_in_even_shares(self):
        if self.members:
            shares = {name: list(self.target.values()).count(name) for name in self.members}
            assert sum(shares.values()) == len(PARTITIONS)
            assert max(shares.values()) - min(shares.values()) <= 1

    @invariant()
    def nobody_loses_one_and_gets_another(self):
        for name in self.members:
            before = {p for p, owner in self.before.items() if owner == name}
            after = {p for p, owner in self.target.items() if owner == name}
            assert before <= after or after <= before

    @invariant()
    def again_without_a_change_nothing_moves(self):
        assert assign(PARTITIONS, self.members, self.target) == self.target


TestMembership = Membership.TestCase
