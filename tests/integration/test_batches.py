"""Batch handlers in real workers: who reaches the handler, what becomes of each event, and who pays when one fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lab import Lab, open_lab, task
from stage import Stage, stage

from headrace.functions.partition import partition_of
from headrace.sandbox.headers import unpack
from headrace.sandbox.outcome import Divided, Done, Failed, NotRun, Outcome, Postponed, Rejected, Skipped, TimedOut

ORDER = """
from headrace import Batch

class Order(BaseModel):
    n: int
    how: str = ""

class Seen(BaseModel):
    n: int
"""

KINDS = {"sync": ("", 1), "async": ("async ", 1), "async, several at once": ("async ", 3)}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as lab:
        yield lab


def order(n: int, how: str = "") -> bytes:
    return json.dumps({"n": n, "how": how}).encode()


async def outcomes_of(lab: Lab, source: str, *values: bytes | None, keys: str = "", **options: str) -> list[Outcome]:
    """What becomes of a chunk of events with these values, and keys if given."""
    worker, ear = await lab.start(ORDER + source)
    tasks = [task(value, offset=n, key=keys[n].encode() if keys else None) for n, value in enumerate(values)]
    chunk = lab.chunk(*tasks)
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, len(values))
    await worker.stop(30)
    return [Done() if outcome is None else outcome for outcome in outcomes]


def data_of(outcome: Outcome) -> list[object]:
    assert isinstance(outcome, Done), outcome
    return [json.loads(emit.value or b"null") for emit in outcome.emits]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_event_is_decoded_by_itself_and_what_is_unfit_does_not_reach_the_handler(
    lab: Lab, kind: str
) -> None:
    prefix, concurrency = KINDS[kind]
    outcomes = await outcomes_of(
        lab,
        f"""
@function("orders", emits="out", batch=Batch(), concurrency={concurrency}, where=lambda order, _: order.how != "not")
{prefix}def handle(orders: list[Order], ctx: Context) -> None:
    for i, one in enumerate(orders):
        ctx.emit("out", [one.n, ctx.events[i].offset, len(orders)], cause=i)
""",
        order(0),
        b"{",
        None,
        order(3, "not"),
        b'{"n": "x"}',
        order(5),
    )
    assert [type(outcome) for outcome in outcomes] == [Done, Rejected, Skipped, Skipped, Rejected, Done]
    assert data_of(outcomes[0]) == [[0, 0, 2]]
    assert data_of(outcomes[5]) == [[5, 5, 2]]


async def test_a_handler_is_not_called_with_nothing(lab: Lab) -> None:
    outcomes = await outcomes_of(
        lab,
        """
@function("orders", batch=Batch())
def handle(orders: list[Order]) -> None:
    assert orders
""",
        b"{",
        None,
    )
    assert [type(outcome) for outcome in outcomes] == [Rejected, Skipped]


async def test_null_values_come_where_the_list_takes_them(lab: Lab) -> None:
    outcomes = await outcomes_of(
        lab,
        """
@function("orders", emits="out", batch=Batch())
def handle(orders: list[Order | None], ctx: Context) -> None:
    ctx.emit("out", [one is None for one in orders], cause=1)
""",
        order(0),
        None,
    )
    assert data_of(outcomes[1]) == [[False, True]]


async def test_emits_are_those_of_their_causes(lab: Lab) -> None:
    source = """
@function("orders", emits={"out": Seen}, batch=Batch())
def handle(orders: list[Order], ctx: Context) -> list[Seen | None]:
    ctx.emit("out", Seen(n=100), cause=2)
    return [Seen(n=one.n) if one.n != 1 else None for one in orders]
"""
    together = await outcomes_of(lab, source, order(0), order(1), order(2), keys="aba")
    assert [data_of(outcome) for outcome in together] == [[{"n": 0}], [], [{"n": 100}, {"n": 2}]]
    last = together[2]
    assert isinstance(last, Done)
    assert [(emit.key, emit.partition) for emit in last.emits] == [(b"a", partition_of(b"a", 4))] * 2
    assert [dict(unpack(emit.headers))["headrace-cause"] for emit in last.emits] == [b"orders/2/2"] * 2
    assert len({emit.id for emit in last.emits}) == 2
    worker, ear = await lab.start(ORDER + source.replace("cause=2", "cause=0"))
    chunk = lab.chunk(task(order(2), offset=2, key=b"a"))  # the same event in another batch
    worker.send(chunk)
    (alone,) = await ear.outcomes_of(chunk.id, 1)
    assert isinstance(alone, Done)
    assert [emit.id for emit in alone.emits] == [emit.id for emit in last.emits]


@pytest.mark.parametrize(
    ("emit", "says"),
    [
        ("ctx.emit('out', {})", "in a batch each emit names the event that it comes of: ctx.emit(…, cause=i)"),
        ("ctx.emit('out', {}, cause=1)", "there is no event 1 in this batch: it has 0 to 0"),
        ("ctx.event", "a batch has many events: ctx.events[i] is that of the i-th payload"),
        ("ctx.fail(0, 'a text')", "the second argument is an exception, as one would raise"),
        ("return [1, 2]", "returned 2 entries for a batch of 1 events"),
        ("return 'text'", "returned a str for a batch of 1 events"),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_a_remedy(lab: Lab, emit: str, says: str) -> None:
    source = f"""
@function("orders", emits="out", batch=Batch())
def handle(orders: list[Order], ctx: Context):
    {emit}
"""
    (outcome,) = await outcomes_of(lab, source, order(0))
    assert isinstance(outcome, Failed)
    assert says in outcome.failure.message


FAILS = """
@function("orders", emits="out", batch=Batch(), order="%(order)s")
def handle(orders: list[Order], ctx: Context) -> None:
    for i, one in enumerate(orders):
        ctx.emit("out", one.n, cause=i)
        match one.how:
            case "fail": ctx.fail(i, ValueError("no"))
            case "reject": ctx.fail(i, Reject("never"))
            case "later": ctx.fail(i, RetryAfter(5))
"""


@pytest.mark.parametrize(
    ("lanes", "hows", "expected"),
    [
        ("key", ["", "fail", "", "", ""], [Done, Failed, Done, NotRun, Done]),
        ("partition", ["", "fail", "", "", ""], [Done, Failed, NotRun, NotRun, NotRun]),
        ("none", ["", "fail", "", "", ""], [Done, Failed, Done, Done, Done]),
        ("key", ["reject", "later", "", "", ""], [Rejected, Postponed, Done, NotRun, Done]),
        ("key", ["fail", "fail", "fail", "fail", "fail"], [Failed, Failed, NotRun, NotRun, NotRun]),
    ],
)
async def test_an_event_that_failed_takes_along_what_follows_it_in_its_lane(
    lab: Lab, lanes: str, hows: list[str], expected: list[type]
) -> None:
    values = [order(n, how) for n, how in enumerate(hows)]
    outcomes = await outcomes_of(lab, FAILS % {"order": lanes}, *values, keys="ababa")
    assert [type(outcome) for outcome in outcomes] == expected


async def test_a_where_that_raises_fails_its_own_event_and_holds_up_its_lane(lab: Lab) -> None:
    outcomes = await outcomes_of(
        lab,
        """
@function("orders", batch=Batch(), where=lambda order, _: 1 / order.n)
def handle(orders: list[Order]) -> None: ...
""",
        *(order(n) for n in (1, 0, 2, 3)),
        keys="abab",
    )
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done, NotRun]


ENDS = """
@function("orders", batch=Batch(), timeout=0.5, concurrency=%(concurrency)d)
%(kind)sdef handle(orders: list[Order]) -> None:
    match orders[-1].how:
        case "raise": raise ValueError("one of them")
        case "reject": raise Reject("one of them")
        case "exit": sys.exit(3)
        case "hang": threading.Event().wait()
        case "later": raise RetryAfter(5)
"""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_that_fails_as_a_whole_is_divided_and_one_event_alone_is_charged(lab: Lab, kind: str) -> None:
    prefix, concurrency = KINDS[kind]
    worker, ear = await lab.start(ORDER + ENDS % {"kind": prefix, "concurrency": concurrency})
    for how, alone in {"raise": Failed, "reject": Rejected, "exit": Failed, "hang": TimedOut}.items():
        whole = lab.chunk(*(task(order(n, how), offset=n) for n in range(5)), task(b"{", offset=5))
        single = lab.chunk(task(order(9, how), offset=9), task(b"{", offset=10))
        worker.send(whole)
        outcomes = await ear.outcomes_of(whole.id, 6)
        assert outcomes[:5] == [Divided(0)] * 3 + [Divided(1)] * 2
        assert isinstance(outcomes[5], Rejected), "decoded by itself"
        worker.send(single)
        assert [type(one) for one in await ear.outcomes_of(single.id, 2)] == [alone, Rejected]
    later = lab.chunk(*(task(order(n, "later"), offset=n) for n in range(2)))
    worker.send(later)
    assert await ear.outcomes_of(later.id, 2) == [Postponed(5.0)] * 2, "who asks for time asks for all of them"
    await worker.stop(30)


async def test_what_was_decided_before_its_batch_failed_waits_for_those_before_it_in_its_lane(lab: Lab) -> None:
    source = ENDS % {"kind": "", "concurrency": 1}
    outcomes = await outcomes_of(lab, source, order(0, ""), b"{", order(2, "raise"), b"{", keys="abbc")
    assert [type(outcome) for outcome in outcomes] == [Divided, Rejected, Divided, Rejected]
    outcomes = await outcomes_of(lab, source, order(0, ""), b"{", order(2, "raise"), b"{", keys="aabc")
    assert [type(outcome) for outcome in outcomes] == [Divided, NotRun, Divided, Rejected]


async def test_a_recalled_batch_is_not_run(lab: Lab) -> None:
    gate = lab.folder / "gate"
    worker, ear = await lab.start(
        ORDER
        + f"""
@function("orders", batch=Batch())
def handle(orders: list[Order]) -> None:
    print("begun")
    sys.stdout.flush()
    while not os.path.exists({str(gate)!r}):
        time.sleep(0.01)
"""
    )
    first, second = lab.chunk(task(order(0)), task(order(1), offset=1)), lab.chunk(task(order(2), offset=2))
    worker.send(first)
    worker.send(second)
    await ear.line("begun")
    worker.recall()
    gate.touch()
    assert await ear.outcomes_of(first.id, 2) == [None, None]
    assert await ear.outcomes_of(second.id, 1) == [NotRun()]
    await worker.stop(30)


async def test_several_batches_run_at_once(lab: Lab) -> None:
    worker, ear = await lab.start(
        ORDER
        + """
met = asyncio.Event()
inside = 0

@function("orders", batch=Batch(), concurrency=3)
async def handle(orders: list[Order]) -> None:
    global inside
    inside += 1
    if inside == 3:
        met.set()
    await met.wait()
"""
    )
    chunks = [lab.chunk(task(order(n), offset=2 * n), task(order(n), offset=2 * n + 1)) for n in range(3)]
    for chunk in chunks:
        worker.send(chunk)
    for chunk in chunks:
        assert await ear.outcomes_of(chunk.id, 2) == [None, None]
    await worker.stop(30)


# -- the whole way ----------------------------------------------------------------------------------------------------

NOTED = (
    ORDER
    + """
@function("orders", emits="out", batch=Batch(size=%(size)d, wait=0.05), retry=Retry(attempts=2, delay=0.01), %(more)s)
%(kind)sdef handle(orders: list[Order], ctx: Context) -> None:
    for i, one in enumerate(orders):
        ctx.emit("out", [one.n, ctx.attempt, ctx.events[i].key], cause=i)
    for one in orders:
        match one.how:
            case "crash": os._exit(7)
            case "raise": raise ValueError("poison")
            case "hang": time.sleep(60)
            case "stuck": signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]), time.sleep(60)
"""
)


async def emitted(scene: Stage) -> list[tuple[int, int, str]]:
    return [tuple(json.loads(record.value or b"")) for record in await scene.records("out")]


@pytest.mark.parametrize(("how", "error"), [("crash", "WorkerCrashed"), ("raise", "ValueError")])
@pytest.mark.parametrize(
    ("kind", "more"), [("", ""), ("", "workers=2"), ("async ", "concurrency=3"), ("", "order='partition'")]
)
async def test_one_poison_among_a_hundred_is_the_only_dead_letter_and_nobody_else_is_charged(
    tmp_path: Path, how: str, error: str, kind: str, more: str
) -> None:
    events = [(f"k{n % 9}", {"n": n, "how": how if n == 57 else ""}) for n in range(100)]
    async with stage(tmp_path, NOTED % {"size": 100, "kind": kind, "more": more}, *events) as scene:
        await scene.idle()
        (letter,) = await scene.letters("handle")
        assert (letter["headrace-origin-offset"], letter["headrace-attempt"]) == ("57", "2")
        assert letter["headrace-error-type"] == error
        done = await emitted(scene)
        assert Counter(n for n, _, _ in done) == Counter(n for n in range(100) if n != 57)
        assert {attempt for _, attempt, _ in done} == {1}, "innocents stay at their first attempt"
        for key in {key for _, _, key in done}:
            numbers = [n for n, _, its in done if its == key]
            assert numbers == sorted(numbers), "in the order of their key"


@pytest.mark.parametrize("how", ["hang", "stuck"])
async def test_a_timeout_is_of_the_whole_batch_and_found_out_by_dividing_it(tmp_path: Path, how: str) -> None:
    events = [(f"k{n}", {"n": n, "how": how if n == 2 else ""}) for n in range(4)]
    source = NOTED % {"size": 4, "kind": "", "more": "timeout=0.3"}
    async with stage(tmp_path, source.replace("attempts=2", "attempts=1"), *events) as scene:
        await scene.idle()
        (letter,) = await scene.letters("handle")
        assert (letter["headrace-origin-offset"], letter["headrace-error-type"]) == ("2", "HandlerTimeout")
        assert sorted(await emitted(scene)) == [(n, 1, f"k{n}") for n in (0, 1, 3)]


async def test_events_that_fail_by_name_are_charged_each_for_itself_and_keep_their_lanes_in_order(
    tmp_path: Path,
) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=20, wait=0.05), retry=Retry(attempts=3, delay=0.01))
def handle(orders: list[Order], ctx: Context) -> list[dict]:
    for i, one in enumerate(orders):
        if one.how == "once" and ctx.attempt == 1 or one.how == "always":
            ctx.fail(i, ValueError(one.how))
    return [{"n": one.n, "attempt": ctx.attempt, "of": len(orders)} for one in orders]
"""
    )
    hows = {3: "once", 7: "always", 12: "once"}
    events = [(f"k{n % 4}", {"n": n, "how": hows.get(n, "")}) for n in range(40)]
    async with stage(tmp_path, source, *events) as scene:
        await scene.idle()
        (letter,) = await scene.letters("handle")
        assert (letter["headrace-origin-offset"], letter["headrace-attempt"]) == ("7", "3")
        done = [json.loads(record.value or b"") for record in await scene.records("out")]
        assert sorted(one["n"] for one in done) == [n for n in range(40) if n != 7]
        assert {one["n"]: (one["attempt"], one["of"]) for one in done if one["attempt"] > 1} == {3: (2, 1), 12: (2, 1)}
        for lane in range(4):
            numbers = [one["n"] for one in done if one["n"] % 4 == lane]
            assert numbers == sorted(numbers)


async def test_a_batch_is_what_is_there_when_its_wait_is_over_and_full_ones_do_not_wait(tmp_path: Path) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=10, wait=%s))
def handle(orders: list[Order], ctx: Context) -> None:
    ctx.emit("out", len(orders), cause=0)
"""
    )
    events = [(f"k{n}", {"n": n}) for n in range(23)]
    (tmp_path / "short").mkdir()
    async with stage(tmp_path / "short", source % "0.2", *events) as scene:
        await scene.idle()
        assert [json.loads(record.value or b"") for record in await scene.records("out")] == [10, 10, 3]
    (tmp_path / "long").mkdir()
    async with stage(tmp_path / "long", source % "3600.0", *events) as scene:
        await scene.seen.until(lambda: len(scene.seen.results) == 20)
        (served,) = scene.engine.subscriptions
        assert served.status.state.value == "running", "a batch fills"
        await scene.emit((f"k{n}", {"n": n}) for n in range(7))
        await scene.seen.until(lambda: len(scene.seen.results) == 30)
        await scene.emit([("k", {"n": 1})])
    assert len(scene.seen.results) == 30, "what fills when the runtime is asked to end stays for the next"


async def test_batches_keep_to_a_rate(tmp_path: Path) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=10, wait=0.1), rate=100)
def handle(orders: list[Order], ctx: Context) -> None:
    ctx.emit("out", len(orders), cause=0)
"""
    )
    async with stage(tmp_path, source, *((f"k{n}", {"n": n}) for n in range(30))) as scene:
        await scene.idle()
        assert [json.loads(record.value or b"") for record in await scene.records("out")] == [10, 10, 10]


async def test_a_worker_killed_from_outside_costs_a_batch_nothing(tmp_path: Path) -> None:
    source = (
        ORDER
        + """
@function("orders", emits="out", batch=Batch(size=8, wait=0.05))
def handle(orders: list[Order], ctx: Context) -> None:
    for i, one in enumerate(orders):
        ctx.emit("out", [one.n, ctx.attempt, ""], cause=i)
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    async with stage(tmp_path, source, *((f"k{n % 3}", {"n": n}) for n in range(8))) as scene:
        await scene.idle()
        assert sorted(await emitted(scene)) == [(n, 1, "") for n in range(8)]
        assert await scene.letters("handle") == []
