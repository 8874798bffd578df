"""Batches against their promises: dividing ends, only the guilty are charged, alone, and lanes stay in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.runtime.deadletter import Sender
from headrace.runtime.ports import Assigned, Bounds, Fetched, Record
from headrace.runtime.progress import Progress
from headrace.runtime.shard import Shard
from headrace.runtime.terms import Terms
from headrace.sandbox.headers import unpack
from headrace.sandbox.manifest import BatchPolicy, RetryPolicy
from headrace.sandbox.outcome import Crashed, Divided, Done, Emitted, Failed, Failure, NotRun, Outcome, TimedOut
from headrace.sandbox.wire import Chunk, Task

PARTITION = ("orders", 0)
ATTEMPTS = 2
POLICY = RetryPolicy(attempts=ATTEMPTS, delay=1.0, factor=1.0, max_delay=1.0, jitter="none", max_age=None)
FAILURE = Failure("ValueError", "no")
WAIT_MS = 500

KINDS = ["", "", "", "", "", "raise", "crash", "kill", "late", "named"]


class Run:
    """Drives one partition to its end. `guilty` says how the event at an offset fails, each time."""

    def __init__(self, order: str, size: int, events: list[tuple[bytes | None, str]], dice: Random) -> None:
        self.order, self.size, self.dice = order, size, dice
        self.log = [Record(n, 0, key, b"{}", b"") for n, (key, _) in enumerate(events)]
        self.guilty = {n: kind for n, (_, kind) in enumerate(events) if kind}
        self.now, self.chunks, self.fetched = 0, 0, 0
        sender = Sender("f", "app.f.dlt", 1, "code")
        terms = Terms("app.f", order, [POLICY], sender, batch=BatchPolicy(size, WAIT_MS / 1000))
        self.shard = Shard(Assigned(PARTITION, 1, 0, b"", Bounds(0, 0)), Progress(0), terms)
        self.flying: dict[int, Chunk] = {}
        self.alone: set[int] = set()
        self.starts: Counter[int] = Counter()
        self.failures: Counter[int] = Counter()
        self.decided: set[int] = set()  # ended, perhaps not durably yet
        self.ends: list[tuple[int, str]] = []

    def lane(self, task: Task | Record) -> object:
        if self.order == "partition":
            return None
        return task.offset if self.order == "none" or task.key is None else task.key

    # -- what happens -------------------------------------------------------------------------------------------------

    def drive(self) -> None:
        steps = 0
        while len(self.ends) < len(self.log):
            steps += 1
            assert steps < 2000 + 200 * len(self.log), "dividing comes to an end"  # as ever the dice fall
            self.dice.choice([self.fetch, self.take, self.take_alone, self.finish, self.settle, self.pass_time])()
        assert not self.shard.events

    def fetch(self) -> None:
        upto = min(len(self.log), self.fetched + self.dice.randint(1, 10))
        self.shard.offer(Fetched(PARTITION, self.log[self.fetched : upto], upto), self.now)
        self.fetched = upto
        self.shard.wake(self.now)

    def pass_time(self) -> None:
        self.now += self.dice.choice([1, 100, 600])
        due_ms = self.shard.wake(self.now)
        assert due_ms is None or due_ms > self.now

    def take(self) -> None:
        if len(self.flying) < 3 and not self.alone and self.shard.ready and not self.shard.ready_alone:
            self.chunks += 1
            chunk = self.shard.take(self.chunks, self.size, 1 << 20)
            assert chunk is not None, "what is ready can be taken"
            self.hand_out(chunk)

    def take_alone(self) -> None:
        if not self.flying and self.shard.ready_alone:
            self.chunks += 1
            chunk = self.shard.take_alone(self.chunks, self.size, 1 << 20)
            assert chunk is not None
            self.alone.add(chunk.id)
            self.hand_out(chunk)

    def hand_out(self, chunk: Chunk) -> None:
        assert 0 < len(chunk.tasks) <= self.size
        in_flight = {self.lane(task) for one in self.flying.values() for task in one.tasks}
        offsets = [task.offset for task in chunk.tasks]
        assert in_flight.isdisjoint(self.lane(task) for task in chunk.tasks), "its lanes are its own until it ends"
        assert len({task.attempt for task in chunk.tasks}) == 1
        assert chunk.tasks[0].attempt == 1 or len(chunk.tasks) == 1, "what has failed comes alone"
        assert chunk.tasks[0].attempt == 1 or offsets[0] in self.guilty, "the innocent are not charged"
        by_lane = defaultdict(list)
        for task in chunk.tasks:
            by_lane[self.lane(task)].append(task.offset)
        for lane, its in by_lane.items():
            waiting = [r.offset for r in self.log if self.lane(r) == lane and r.offset not in self.decided]
            assert its == waiting[: len(its)], "in the order of their lane"
        self.starts.update(offsets)
        self.flying[chunk.id] = chunk

    def finish(self) -> None:
        if not self.flying:
            return
        chunk = self.flying[self.dice.choice(sorted(self.flying))]
        kinds = {self.guilty.get(task.offset, "") for task in chunk.tasks}
        if "crash" in kinds:
            self.crash()
        elif "kill" in kinds:
            self.time_out(chunk)
        else:
            self.report(chunk, self.outcomes(chunk, kinds))

    def report(self, chunk: Chunk, outcomes: list[Outcome]) -> None:
        for task, outcome in zip(chunk.tasks, outcomes, strict=True):
            self.decide(task, outcome)
        del self.flying[chunk.id]
        self.alone.discard(chunk.id)
        cut = self.dice.randint(0, len(outcomes))
        for first, part in ((0, outcomes[:cut]), (cut, outcomes[cut:])):
            if part:
                self.shard.report(chunk.id, first, part, now_ms=self.now, draw=lambda: 0.5)
        self.shard.wake(self.now)

    def decide(self, task: Task, outcome: Outcome) -> None:
        self.failures[task.offset] += not isinstance(outcome, Done | NotRun | Divided)
        if isinstance(outcome, Done) or self.failures[task.offset] == ATTEMPTS:
            self.decided.add(task.offset)

    def outcomes(self, chunk: Chunk, kinds: set[str]) -> list[Outcome]:
        """As `headrace.sandbox.batches` has it."""
        tasks = chunk.tasks
        if kinds & {"raise", "late"}:
            if len(tasks) == 1:
                return [Failed(FAILURE) if "raise" in kinds else TimedOut(FAILURE)]
            return [Divided(int(n >= (len(tasks) + 1) // 2)) for n in range(len(tasks))]
        blocked: set[object] = set()
        outcomes: list[Outcome] = []
        for task in tasks:
            if self.lane(task) in blocked:
                outcomes.append(NotRun())
            elif task.offset in self.guilty:
                outcomes.append(Failed(FAILURE))
                blocked.add(self.lane(task))
            else:
                outcomes.append(Done([Emitted("out", 0, 0, task.key, b"%d" % task.offset, b"", "id")]))
        return outcomes

    def crash(self) -> None:
        """The worker dies with all that runs in it."""
        running, self.flying = self.flying, {}
        self.alone.clear()
        for chunk in running.values():
            guilty = {0: Crashed(FAILURE)} if len(running) == 1 else {}
            if guilty and len(chunk.tasks) == 1:
                self.decide(chunk.tasks[0], guilty[0])
            self.shard.lost(chunk.id, guilty, {} if guilty else {0}, now_ms=self.now, draw=lambda: 0.5)
        self.shard.wake(self.now)

    def time_out(self, late: Chunk) -> None:
        """One of the batches does not stop when asked, and the worker is killed for it; the others just go back."""
        running, self.flying = self.flying, {}
        self.alone.clear()
        for chunk in running.values():
            guilty = {0: TimedOut(FAILURE)} if chunk is late else {}
            if guilty and len(chunk.tasks) == 1:
                self.decide(chunk.tasks[0], guilty[0])
            self.shard.lost(chunk.id, guilty, set(), now_ms=self.now, draw=lambda: 0.5)
        self.shard.wake(self.now)

    def settle(self) -> None:
        if (settlement := self.shard.settlement()) is None:
            return
        for append in settlement.appends:
            if append.topic == "out":
                self.ends.append((int(append.value or b""), "done"))
            else:
                headers = dict(unpack(append.headers))
                assert headers["headrace-attempt"] == b"%d" % ATTEMPTS
                self.ends.append((int(headers["headrace-origin-offset"]), "dead"))
        self.shard.settled()
        self.shard.wake(self.now)


EVENTS = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", None]), st.sampled_from(KINDS)), min_size=1, max_size=40
)


@given(
    order=st.sampled_from(["key", "key", "partition", "none"]),
    size=st.integers(1, 16),
    events=EVENTS,
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=300, deadline=None)
def test_dividing_ends_charges_the_guilty_alone_and_keeps_lanes_in_order(
    order: str, size: int, events: list[tuple[bytes | None, str]], seed: int
) -> None:
    run = Run(order, size, events, Random(seed))
    run.drive()
    assert sorted(offset for offset, _ in run.ends) == list(range(len(events))), "each ends once"
    assert {offset for offset, how in run.ends if how == "dead"} == set(run.guilty), "the guilty, and nobody else"
    by_lane = defaultdict(list)
    for offset, _ in run.ends:
        by_lane[run.lane(run.log[offset])].append(offset)
    assert all(offsets == sorted(offsets) for offsets in by_lane.values())


@given(size=st.integers(2, 200), poison=st.integers(0, 199))
def test_one_poison_is_found_in_as_many_steps_as_the_batch_can_be_halved(size: int, poison: int) -> None:
    poison %= size
    dice = Random(1)
    run = Run("none", size, [(None, "raise" if n == poison else "") for n in range(size)], dice)
    run.fetched = size
    run.shard.offer(Fetched(PARTITION, run.log, size), 0)
    run.drive()
    halvings = (size - 1).bit_length()
    assert run.starts[poison] <= halvings + ATTEMPTS
    assert run.chunks <= 2 * halvings + ATTEMPTS
