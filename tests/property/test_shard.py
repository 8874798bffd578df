"""A shard against a model of the promises: order, attempts, suspects, settlement, across deaths of worker and owner."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.runtime.deadletter import Sender
from headrace.runtime.ports import Assigned, Bounds, Fetched, Record, Settlement
from headrace.runtime.progress import Progress
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.headers import unpack
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Crashed, Done, Emitted, Failed, Failure, NotRun, Outcome, Rejected
from headrace.sandbox.wire import Chunk

PARTITION = ("orders", 0)
ATTEMPTS = 3
POLICY = RetryPolicy(attempts=ATTEMPTS, delay=1.0, factor=1.0, max_delay=1.0, jitter="none", max_age=None)
TERMS = Terms("app.f", "key", [POLICY], Sender("f", "app.f.dlt", 1, "code"))
FAILURE = Failure("ValueError", "no")


class ShardMachine(RuleBasedStateMachine):
    """Drives one partition of a log: what is written stays written, everything else dies with its owner."""

    @initialize()
    def begin(self) -> None:
        self.log: list[Record] = []
        self.written = Settlement("app.f", PARTITION, 1, 0, b"")
        self.outputs: list[tuple[int, str]] = []  # (offset, "done" or "dead") in the log
        self.now = 0
        self.chunks = 0
        self.failures: Counter[int] = Counter()  # durable ones
        self.charges: Counter[int] = Counter()  # those the owner has decided
        self.in_writing_charges: Counter[int] = Counter()
        self.own(clean=True)

    def own(self, *, clean: bool) -> None:
        """A new owner takes the partition over from what is written."""
        progress = Progress.restore(self.written.watermark, self.written.progress)
        self.charges = self.failures.copy()
        if not clean and progress.custody.died_at is not None:
            self.charges[progress.custody.died_at] += 1
        self.shard = Shard(Assigned(PARTITION, 1, self.written.watermark, b"", Bounds(0, 0)), progress, TERMS)
        self.flying: dict[int, list[tuple[int, Record]]] = {}
        self.in_writing: Settlement | None = None
        self.blocked: set[tuple[int, bytes]] = set()
        self.alone_chunks: set[int] = set()
        self.suspects: set[int] = set()
        self.fetched = progress.position

    # -- the broker ---------------------------------------------------------------------------------------------------

    @rule(keys=st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=5))
    def append(self, keys: list[bytes]) -> None:
        for key in keys:
            self.log.append(Record(len(self.log), self.now, key, b"{}", b""))

    @rule(count=st.integers(1, 6))
    def fetch(self, count: int) -> None:
        records = self.log[self.fetched : self.fetched + count]
        self.fetched += len(records)
        self.shard.offer(Fetched(PARTITION, records, self.fetched), self.now)

    @precondition(lambda self: self.in_writing is None)
    @rule()
    def begin_to_write(self) -> None:
        self.in_writing = self.shard.settlement()
        self.in_writing_charges = self.charges.copy()

    @precondition(lambda self: self.in_writing is not None)
    @rule(told=st.booleans())
    def write(self, told: bool) -> None:
        """The settlement becomes durable; `told`: its owner learns of it, else it dies before."""
        assert self.in_writing is not None
        settlement, self.in_writing = self.in_writing, None
        assert settlement.watermark >= self.written.watermark
        self.written = settlement
        for append in settlement.appends:
            if append.topic == "out":
                self.outputs.append((int(append.value or b""), "done"))
            else:
                origin = dict(unpack(append.headers))["headrace-origin-offset"]
                self.outputs.append((int(origin), "dead"))
        self.failures = self.in_writing_charges.copy()
        ledger = Progress.restore(settlement.watermark, settlement.progress).ledger
        ended = {offset for offset, _ in self.outputs}
        expected = {offset: count for offset, count in self.failures.items() if count and offset not in ended}
        assert {offset: charge.failures for offset, charge in ledger.items()} == expected, (
            "what failed is on the ledger"
        )
        if told:
            self.shard.settled()
        else:
            self.own(clean=False)

    # -- the workers --------------------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        careful = self.shard.careful
        self.hand_out(self.shard.take(self.chunks + 1, limit, 1 << 20), careful=careful)

    @rule()
    def take_alone(self) -> None:
        chunk = self.shard.take_alone(self.chunks + 1)
        if chunk is not None:
            assert len(chunk.tasks) == 1
            self.alone_chunks.add(chunk.id)
        self.hand_out(chunk, careful=False)

    def hand_out(self, chunk: Chunk | None, *, careful: bool) -> None:
        if chunk is None:
            return
        self.chunks = chunk.id
        in_flight = {record.key for events in self.flying.values() for _, record in events}
        ended = {offset for offset, _ in self.outputs}
        for task in chunk.tasks:
            assert task.key not in in_flight, "a lane is in one worker at a time"
            assert task.offset not in ended, "what is in the log as ended is not run again"
            assert task.attempt == self.failures[task.offset] + 1, "each charge is durable before the next attempt"
            assert task.attempt <= ATTEMPTS
            if task.offset in self.suspects:
                assert len(chunk.tasks) == 1, "a suspect runs alone"
        if careful:
            assert not self.flying, "one at a time"
            started = Progress.restore(self.written.watermark, self.written.progress).custody.started
            assert [task.offset for task in chunk.tasks] == [started], "its start is written first"
        by_lane: dict[bytes | None, list[int]] = defaultdict(list)
        for task in chunk.tasks:
            by_lane[task.key].append(task.offset)
        for key, offsets in by_lane.items():
            waiting = [r.offset for r in self.log if r.key == key and r.offset not in self.known_ended()]
            assert offsets == waiting[: len(offsets)], "a lane's oldest events first, in order"
        self.flying[chunk.id] = [(index, self.log[task.offset]) for index, task in enumerate(chunk.tasks)]

    def known_ended(self) -> set[int]:
        """Events that ended as far as this owner knows: in the log, being written, or decided and not taken yet."""
        progress = self.shard.progress
        probe = Progress.restore(progress.watermark, progress.encode())
        after = self.log[probe.watermark : self.fetched]
        still_open = {record.offset for record in probe.deliver(after, self.fetched)} if after else set()
        return {record.offset for record in self.log[: self.fetched] if record.offset not in still_open}

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.flying)))
        events = self.flying[chunk]
        first_of_lane: dict[bytes | None, int] = {}
        for position, (_, record) in enumerate(events):
            first_of_lane.setdefault(record.key, position)
        position = data.draw(st.sampled_from(sorted(first_of_lane.values())))
        index, record = events.pop(position)
        outcome: Outcome
        if (chunk, record.key) in self.blocked:
            outcome = NotRun()
        else:
            outcome = data.draw(st.sampled_from([self.done(record), Failed(FAILURE), Rejected(FAILURE), NotRun()]))
        if not isinstance(outcome, Done | Rejected):
            self.blocked.add((chunk, record.key or b""))
        if isinstance(outcome, Failed):
            self.charges[record.offset] += 1
        if isinstance(outcome, Done | Rejected):
            self.suspects.discard(record.offset)
        self.shard.report(chunk, index, [outcome], now_ms=self.now, draw=lambda: 0.5)
        if not events:
            del self.flying[chunk]

    def done(self, record: Record) -> Done:
        return Done([Emitted("out", 0, 0, record.key, b"%d" % record.offset, b"", "id")])

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def lose_worker(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.flying)))
        events = self.flying.pop(chunk)
        heads: dict[bytes | None, tuple[int, Record]] = {}
        for index, record in events:
            heads.setdefault(record.key, (index, record))
        running = data.draw(
            st.lists(st.sampled_from(sorted(heads.values(), key=lambda one: one[0])), unique_by=lambda one: one[0])
        )
        running = [one for one in running if (chunk, one[1].key) not in self.blocked]
        guilty: dict[int, Outcome] = {running[0][0]: Crashed(FAILURE)} if len(running) == 1 else {}
        suspects = {index for index, _ in running} if len(running) > 1 else set()
        self.charges.update(record.offset for index, record in running if index in guilty)
        self.suspects |= {record.offset for index, record in running if index in suspects}
        self.shard.lost(chunk, guilty, suspects, now_ms=self.now, draw=lambda: 0.5)

    # -- time, and the owner ------------------------------------------------------------------------------------------

    @rule(ms=st.integers(0, 1500))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.shard.wake(self.now)

    @rule()
    def owner_dies(self) -> None:
        self.own(clean=False)

    @precondition(lambda self: not self.flying)
    @rule()
    def owner_leaves(self) -> None:
        if self.in_writing is not None:
            self.write(told=True)
        self.leave()
        self.own(clean=True)

    @precondition(lambda self: not self.flying)
    @rule()
    def owner_leaves_and_comes_back(self) -> None:
        """In a rebalance: what was fetched and not ended is not fetched again."""
        if self.in_writing is not None:
            self.write(told=True)
        self.leave()
        left = self.shard.leftover()
        known = self.known_ended()
        self.own(clean=True)
        assert left is not None, "all was durable"
        assert [record.offset for record in left.records] == sorted(set(range(left.next)) - known)
        self.shard.offer(Fetched(PARTITION, left.records, left.next), self.now)
        self.fetched = left.next

    def leave(self) -> None:
        self.shard.leave()
        self.begin_to_write()
        self.write(told=True)

    # -- the promises -------------------------------------------------------------------------------------------------

    @invariant()
    def each_event_ends_at_most_once_in_the_log(self) -> None:
        assert all(count == 1 for count in Counter(offset for offset, _ in self.outputs).values())

    @invariant()
    def what_is_passed_has_ended(self) -> None:
        ended = {offset for offset, _ in self.outputs}
        assert ended.issuperset(range(self.written.watermark)), "progress is never ahead of what is published"

    @invariant()
    def a_lane_s_outputs_are_in_order(self) -> None:
        by_lane: dict[bytes | None, list[int]] = defaultdict(list)
        for offset, _ in self.outputs:
            by_lane[self.log[offset].key].append(offset)
        assert all(offsets == sorted(offsets) for offsets in by_lane.values())

    @invariant()
    def charged_failures_never_exceed_attempts(self) -> None:
        assert all(count <= ATTEMPTS for count in self.charges.values())


TestShard = ShardMachine.TestCase
TestShard.settings = settings(stateful_step_count=60, max_examples=150, deadline=None)
