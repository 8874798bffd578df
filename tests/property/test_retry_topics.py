"""Retry topics against a model: events that wait aside, hop from tier to tier, and end exactly once."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.functions.names import retry_topic_of
from headrace.runtime.deadletter import Sender
from headrace.runtime.ports import Append, Assigned, Bounds, Fetched, Partition, Record, Settlement
from headrace.runtime.progress import Progress
from headrace.runtime.retrytopic import RetryTopics
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.runtime.tiers import TIERS
from headrace.sandbox.headers import pack, unpack
from headrace.sandbox.manifest import RetryPolicy
from headrace.sandbox.outcome import Crashed, Done, Emitted, Failed, Failure, NotRun, Outcome, Postponed, Rejected
from headrace.sandbox.wire import Task

SOURCE = ("orders", 3)
ATTEMPTS = 4
POLICY = RetryPolicy(attempts=ATTEMPTS, delay=3.0, factor=9.0, max_delay=900.0, jitter="full", max_age=None)
RETRIES = RetryTopics("app", "f", 2, "code")
TERMS = Terms(
    "app.f", "none", [POLICY], Sender("f", "app.f.dlt", 4, "code"), progress_limit=4096, retries=RETRIES, aside=True
)
RETRY_PARTITIONS: list[Partition] = [(retry_topic_of("app", "f", tier.name), SOURCE[1] % 2) for tier in TIERS]
FAILURE = Failure("ValueError", "no")
HEADERS = [("ce_type", b"OrderPlaced"), ("x", b"\xff"), ("x", b"2")]
BORN_MS = 5_000_000


class Place:
    """One partition: its log, what its group has written of it, and the shard of its present owner."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.log: list[Record] = []
        self.written = Settlement("app.f", partition, 1, 0, b"")
        self.own()

    def own(self) -> None:
        progress = Progress.restore(self.written.watermark, self.written.progress)
        self.shard = Shard(Assigned(self.partition, 1, progress.watermark, b"", Bounds(0, 0)), progress, TERMS)
        self.fetched = progress.position
        self.flying: dict[int, list[tuple[int, Task]]] = {}
        self.charged: set[int] = set()  # events that failed since the last settlement, by offset at the origin

    def fetch(self, count: int, now_ms: int) -> None:
        records = self.log[self.fetched : self.fetched + count]
        self.fetched += len(records)
        self.shard.offer(Fetched(self.partition, records, self.fetched), now_ms)


class RetryMachine(RuleBasedStateMachine):
    """A broker with transactions: the source partition and a partition of each tier, each with an owner of its own."""

    @initialize()
    def begin(self) -> None:
        self.now = BORN_MS
        self.chunks = 0
        self.source = Place(SOURCE)
        self.places = {SOURCE: self.source} | {partition: Place(partition) for partition in RETRY_PARTITIONS}
        self.ended: Counter[int] = Counter()
        self.failures: Counter[int] = Counter()  # durable ones, by offset at the origin
        self.deaths: Counter[Partition] = Counter()  # of owners

    def place(self, data: st.DataObject) -> Place:
        return self.places[data.draw(st.sampled_from([p for p, place in self.places.items() if place.log] or [SOURCE]))]

    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        for _ in range(count):
            offset = len(self.source.log)
            self.source.log.append(Record(offset, BORN_MS - offset, b"k", b"%d" % offset, pack(HEADERS)))

    @rule(data=st.data(), count=st.integers(1, 4))
    def fetch(self, data: st.DataObject, count: int) -> None:
        self.place(data).fetch(count, self.now)

    @rule(ms=st.one_of(st.integers(0, 2_000), st.integers(0, 5_000_000)))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        for place in self.places.values():
            place.shard.wake(self.now)

    @rule(data=st.data(), limit=st.integers(1, 4))
    def take(self, data: st.DataObject, limit: int) -> None:
        place = self.place(data)
        place.shard.wake(self.now)
        self.chunks += 1
        chunk = place.shard.take_alone(self.chunks) or place.shard.take(self.chunks, limit, 1 << 20)
        if chunk is None:
            return
        for task in chunk.tasks:
            self.check_start(place, task)
        place.flying[chunk.id] = list(enumerate(chunk.tasks))

    def check_start(self, place: Place, task: Task) -> None:
        first = origin_of(place, task)
        assert (task.origin is None) == (place is self.source)
        assert unpack(task.headers) == HEADERS, "the handler sees the headers of the origin, byte for byte"
        assert (task.key, task.value, task.timestamp) == (b"k", b"%d" % first, BORN_MS - first)
        assert not self.ended[first], "what has ended is not run again"
        died = place.shard.progress.failures(task.offset)
        assert task.attempt == self.failures[first] + died + 1, "a hop is no attempt, a restart neither"
        assert died <= self.deaths[place.partition]
        if place is not self.source:
            due_ms = int(dict(unpack(place.log[task.offset].headers))["headrace-not-before"])
            assert due_ms <= self.now, "never before its time"

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        if not (flying := [(place, chunk) for place in self.places.values() for chunk in place.flying]):
            return
        place, chunk = data.draw(st.sampled_from(flying))
        index, task = place.flying[chunk].pop(0)
        outcomes = [done(task), Failed(FAILURE), Postponed(9000.0), Rejected(FAILURE), NotRun(), Crashed(FAILURE)]
        outcome: Outcome = data.draw(st.sampled_from(outcomes))
        if isinstance(outcome, Failed | Postponed | Crashed):
            place.charged.add(origin_of(place, task))
        place.shard.report(chunk, index, [outcome], now_ms=self.now, draw=lambda: 0.9)
        if not place.flying[chunk]:
            del place.flying[chunk]

    @rule(data=st.data(), told=st.booleans())
    def settle(self, data: st.DataObject, told: bool) -> None:
        place = self.place(data)
        if (settlement := place.shard.settlement()) is None:
            return
        self.make_durable(place, settlement)
        if told:
            place.shard.settled()
        else:
            self.die(place)

    def make_durable(self, place: Place, settlement: Settlement) -> None:
        place.written = settlement
        for append in settlement.appends:
            self.publish(append, place.charged)
        place.charged = set()

    def publish(self, append: Append, charged: set[int]) -> None:
        if append.topic == "out":
            self.ended[int(append.value or b"")] += 1
            return
        headers = dict(unpack(append.headers))
        first = int(headers["headrace-origin-offset"])
        assert (append.key, append.value) == (b"k", b"%d" % first)
        assert unpack(append.headers)[: len(HEADERS)] == HEADERS
        assert (headers["headrace-origin-topic"], headers["headrace-origin-partition"]) == (b"orders", b"3")
        assert int(headers["headrace-origin-timestamp"]) == BORN_MS - first
        if append.topic == "app.f.dlt":
            self.ended[first] += 1
            assert append.partition == 3
            return
        self.failures[first] += first in charged
        assert int(headers["headrace-attempt"]) == self.failures[first] + 1, "only what failed is charged"
        log = self.places[append.topic, append.partition].log
        log.append(Record(len(log), append.timestamp, append.key, append.value, append.headers))

    @rule()
    def all_goes_well_for_a_while(self) -> None:
        """What is decided is written, what is written is fetched: brings the machine further into the tiers."""
        for place in self.places.values():
            self.write(place)
        for place in self.places.values():
            place.fetch(1000, self.now)

    @rule(data=st.data())
    def owner_dies(self, data: st.DataObject) -> None:
        self.die(self.place(data))

    def die(self, place: Place) -> None:
        self.deaths[place.partition] += 1
        place.own()

    @precondition(lambda self: self.source.log)
    @rule()
    def all_is_done_in_the_end(self) -> None:
        """With handlers that succeed, every event ends, however far it has come."""
        for _ in range(200):
            for place in self.places.values():
                place.fetch(1000, self.now)
                self.work_off(place)
            self.now += TIERS[-1].ms
            for place in self.places.values():
                place.shard.wake(self.now)
        assert self.ended == Counter(range(len(self.source.log)))
        assert all(place.shard.events == 0 for place in self.places.values())
        assert all(place.written.watermark == len(place.log) for place in self.places.values())

    def work_off(self, place: Place) -> None:
        for chunk, tasks in list(place.flying.items()):
            for index, task in tasks:
                place.shard.report(chunk, index, [done(task)], now_ms=self.now, draw=lambda: 0.0)
            del place.flying[chunk]
        while True:
            self.chunks += 1
            place.shard.wake(self.now)
            self.write(place)
            chunk = place.shard.take_alone(self.chunks) or place.shard.take(self.chunks, 100, 1 << 20)
            if chunk is None and not place.shard.unsettled:
                return
            if chunk is not None:
                for task in chunk.tasks:
                    self.check_start(place, task)
                outcomes = [done(task) for task in chunk.tasks]
                place.shard.report(chunk.id, 0, outcomes, now_ms=self.now, draw=lambda: 0.0)

    def write(self, place: Place) -> None:
        while (settlement := place.shard.settlement()) is not None:
            self.make_durable(place, settlement)
            place.shard.settled()

    @invariant()
    def each_event_ends_at_most_once(self) -> None:
        assert all(count == 1 for count in self.ended.values())

    @invariant()
    def charged_failures_stay_below_the_attempts(self) -> None:
        assert all(count < ATTEMPTS for count in self.failures.values())

    @invariant()
    def what_waits_aside_leaves_no_trace_in_the_progress_of_its_partition(self) -> None:
        for place in self.places.values():
            ledger = place.shard.progress.ledger.values()
            assert all(charge.due_ms == 0 for charge in ledger), "only deaths of owners are charged in place"


def origin_of(place: Place, task: Task) -> int:
    """The offset at the origin."""
    if task.origin is None:
        return task.offset
    assert (task.origin.topic, task.origin.partition) == SOURCE
    return task.origin.offset


def done(task: Task) -> Done:
    return Done([Emitted("out", 0, 0, None, task.value, b"", "id")])


TestRetryTopics = RetryMachine.TestCase
TestRetryTopics.settings = settings(stateful_step_count=50, max_examples=150, deadline=None)


def test_what_waits_longer_than_a_tier_hops_and_is_handled_when_its_time_has_come() -> None:
    machine = RetryMachine()
    machine.begin()
    machine.append(1)
    machine.all_goes_well_for_a_while()
    chunk = machine.source.shard.take(1, 1, 1 << 20)
    assert chunk is not None
    machine.source.charged.add(0)
    machine.source.shard.report(1, 0, [Postponed(9000.0)], now_ms=machine.now, draw=lambda: 0.0)
    machine.all_goes_well_for_a_while()
    lengths = []
    for ms in (0, 3_599_999, 1, 3_600_000, 1_799_999, 1):
        machine.pass_time(ms)
        machine.all_goes_well_for_a_while()
        lengths.append([len(machine.places[p].log) for p in RETRY_PARTITIONS])
    hour, all_in_the_hour = [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2]
    assert lengths == [hour, hour, all_in_the_hour, [0, 0, 0, 0, 0, 3], [0, 0, 0, 0, 0, 3], [0, 0, 0, 0, 0, 3]]
    last = machine.places[RETRY_PARTITIONS[-1]]
    chunk = last.shard.take(2, 10, 1 << 20)
    assert chunk is not None
    (task,) = chunk.tasks
    machine.check_start(last, task)
    assert (task.attempt, task.offset) == (2, 2)
    assert machine.now == BORN_MS + 9_000_000
    assert [place.written.watermark for place in machine.places.values()] == [1, 0, 0, 0, 0, 0, 2]
