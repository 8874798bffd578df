"""Groups of the embedded log under everything that can befall their members, on a clock of the test's own.

A member here is what a process knows: its id, what it holds, when it last beat. It beats on the table all share, is
told afterwards what to let go of, and takes its time over it if the test wants that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.triggers.brokers.sqlite import coordinator
from headrace.triggers.brokers.sqlite.coordinator import Beat, Seat, Table

SESSION_MS = 9_000
PATIENCE_MS = 30_000
TOPICS = {number: "a" if number < 6 else "b" for number in range(8)}
PICK = st.integers(0, 3)


@dataclass(eq=False)
class Process:
    """A member of the group. `blameless`: it never missed a beat, nor took too long to let go."""

    id: str
    topics: tuple[str, ...]
    boot: int
    held: dict[int, int] = field(default_factory=dict)
    giving: tuple[int, ...] = ()
    due_ms: int = 0
    frozen: bool = False
    slow: bool = False
    blameless: bool = True


class Groups(RuleBasedStateMachine):
    """Up to four processes at a time; each beats when it is due, as long as it is not frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table({}, {}, {})
        self.processes: list[Process] = []
        self.dead: set[str] = set()
        self.now_ms = 1_000_000
        self.boot = 0
        self.count = 0
        self.epochs: Counter[int] = Counter()

    # -- what happens ---------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.processes) < 4)
    @rule(topics=st.sampled_from([("a",), ("b",), ("a", "b"), ("a", "b")]))
    def join(self, topics):
        self.count += 1
        self.processes.append(Process(f"m{self.count}", topics, self.boot))
        self._beat(self.processes[-1])

    @precondition(lambda self: self.processes)
    @rule(pick=PICK)
    def leave(self, pick):
        one = self._one(pick)
        if not one.frozen:
            self._look(one)
            coordinator.leave(self.table, one.id, self.now_ms)
            self.processes.remove(one)

    @precondition(lambda self: self.processes)
    @rule(pick=PICK, noticed=st.booleans())
    def crash(self, pick, noticed):
        one = self._one(pick)
        self.processes.remove(one)
        if noticed:
            self.dead.add(one.id)

    @precondition(lambda self: self.processes)
    @rule(pick=PICK, frozen=st.booleans())
    def freeze_or_thaw(self, pick, frozen):
        one = self._one(pick)
        one.frozen = frozen
        one.blameless = one.blameless and not frozen

    @precondition(lambda self: self.processes)
    @rule(pick=PICK, slow=st.booleans())
    def be_slow_or_quick(self, pick, slow):
        one = self._one(pick)
        one.slow = slow
        one.blameless = one.blameless and not slow

    @precondition(lambda self: self.processes)
    @rule(pick=PICK, topics=st.sampled_from([("a",), ("a", "b")]))
    def follow(self, pick, topics):
        self._one(pick).topics = topics

    @rule(seconds=st.sampled_from([0, 1, 2, 3, 8, 31]))
    def wait(self, seconds):
        until = self.now_ms + seconds * 1000
        while due := [one for one in self.processes if not one.frozen and one.due_ms <= until]:
            one = min(due, key=lambda one: one.due_ms)
            self.now_ms = max(self.now_ms, one.due_ms)
            self._beat(one)
        self.now_ms = max(until, self.now_ms)

    @rule(seconds=st.sampled_from([4, 7, 8, 10, 40]), order=st.permutations(range(4)))
    def nobody_can_write(self, seconds, order):
        """As when a disk is stuck: then all who waited beat, and nobody is put out for it who lives."""
        self.now_ms += seconds * 1000
        waiting = [one for one in self.processes if not one.frozen]
        for place in order:
            if place < len(waiting):
                self._beat(waiting[place])

    @rule(later=st.booleans(), known=st.booleans())
    def boot_anew(self, later, known):
        """All processes end, and the clock begins anew: before where it was, or after. Some systems number no boots."""
        self.processes.clear()
        self.boot += known
        self.now_ms = self.now_ms + 1000 if later else 1_000

    # -- what a process does --------------------------------------------------------------------------------------

    def _one(self, pick):
        return self.processes[pick % len(self.processes)]

    def _beat(self, one):
        seat = Seat(one.id, one.topics, self.now_ms, SESSION_MS, str(one.boot))
        self._look(one)
        said = Beat(seat, dict(one.held), claims=not one.giving, patience_ms=PATIENCE_MS)
        standing = coordinator.beat(self.table, said, self.dead.__contains__)
        assert not any(other.blameless and other.id in standing.gone for other in self.processes)
        assert not (standing.giving and standing.gained), "let go of some first"
        for number, epoch in standing.gained.items():
            assert number not in one.held
            assert epoch > self.epochs[number], "an epoch that was there before"
            self.epochs[number] = epoch
            one.held[number] = epoch
        if not one.giving:
            one.giving = standing.giving
        one.due_ms = self.now_ms + min(SESSION_MS // 3, standing.due_ms or SESSION_MS)
        self._let_go(one)
        for other in self.processes:
            if standing.news and other is not one:
                other.due_ms = self.now_ms  # the commit rings

    def _let_go(self, one):
        if one.giving and not one.slow:
            for number in one.giving:
                del one.held[number]
            one.giving = ()
            one.due_ms = self.now_ms

    def _look(self, one):
        """The log looks which partitions there are to be had, whenever it decides."""
        subscribed = {topic for seat in self.table.seats.values() for topic in seat.topics} | set(one.topics)
        self.table.partitions = {number: topic for number, topic in TOPICS.items() if topic in subscribed}

    # -- what holds -----------------------------------------------------------------------------------------------

    def _settles(self, one, number):
        """Whether the log would take a settlement of what this process holds."""
        share = self.table.shares[number]
        return (share.owner, share.epoch) == (one.id, one.held[number])

    @invariant()
    def at_most_one_can_settle_a_partition(self):
        settling = Counter(number for one in self.processes for number in one.held if self._settles(one, number))
        assert all(count == 1 for count in settling.values())

    @invariant()
    def what_the_blameless_hold_is_theirs(self):
        for one in self.processes:
            assert not one.blameless or all(self._settles(one, number) for number in one.held)

    def teardown(self):
        for one in self.processes:
            one.frozen = False
            one.due_ms = self.now_ms
        self._pass_in_peace(PATIENCE_MS + 3 * SESSION_MS)
        self._check_that_the_quick_have_all_that_is_meant_for_them()
        for one in self.processes:
            one.slow = False
            self._let_go(one)
        self._pass_in_peace(2 * SESSION_MS)  # nobody's patience is needed
        self._check_that_all_is_shared_out()

    def _pass_in_peace(self, duration_ms):
        for _ in range(duration_ms // 1000):
            self.wait(1)

    def _check_that_the_quick_have_all_that_is_meant_for_them(self):
        for one in self.processes:
            if not one.slow:
                wanted = {number for number, share in self.table.shares.items() if share.wanted == one.id}
                assert wanted == set(one.held)
                assert all(self._settles(one, number) for number in wanted)

    def _check_that_all_is_shared_out(self):
        held = [number for one in self.processes for number in one.held]
        subscribed = {topic for one in self.processes for topic in one.topics}
        assert sorted(held) == [number for number, topic in TOPICS.items() if topic in subscribed]
        for one in self.processes:
            assert all(self._settles(one, number) and TOPICS[number] in one.topics for number in one.held)
            for other in self.processes:
                if one.topics == other.topics:
                    assert abs(len(one.held) - len(other.held)) <= 1


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=60, stateful_step_count=30)


def test_what_a_dead_member_had_is_taken_over_at_the_next_beat_and_not_by_patience():
    table = Table(TOPICS, {}, {})
    first, second = (Seat(name, ("a", "b"), 0, SESSION_MS, "") for name in ("m1", "m2"))
    coordinator.beat(table, Beat(first, {}, claims=True, patience_ms=PATIENCE_MS), lambda _: False)
    standing = coordinator.beat(table, Beat(second, {}, claims=True, patience_ms=PATIENCE_MS), {"m1"}.__contains__)
    assert standing.gained == dict.fromkeys(TOPICS, 2)
    assert standing.gone == ("m1",)


def test_who_follows_a_further_topic_gets_an_even_share_of_it():
    table = Table(TOPICS, {}, {})
    both, one = Seat("m1", ("a", "b"), 0, SESSION_MS, ""), Seat("m2", ("a",), 0, SESSION_MS, "")
    coordinator.beat(table, Beat(both, {}, claims=False, patience_ms=PATIENCE_MS), lambda _: False)
    coordinator.beat(table, Beat(one, {}, claims=False, patience_ms=PATIENCE_MS), lambda _: False)
    before = Counter(share.wanted for share in table.shares.values())
    assert before == {"m1": 4, "m2": 4}
    wider = Seat("m3", ("b",), 0, SESSION_MS, "")
    coordinator.beat(table, Beat(wider, {}, claims=False, patience_ms=PATIENCE_MS), lambda _: False)
    wider = Seat("m3", ("a", "b"), 0, SESSION_MS, "")
    coordinator.beat(table, Beat(wider, {}, claims=False, patience_ms=PATIENCE_MS), lambda _: False)
    assert sorted(Counter(share.wanted for share in table.shares.values()).values()) == [2, 3, 3]
