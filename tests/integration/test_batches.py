"""Batch handlers in real workers: who reaches the handler, what becomes of each event, and who pays when one fails."""

from __future__ import annotations

import json

import pytest
from lab import Lab, task

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
@function("orders", batch=Batch(), timeout=2, concurrency=%(concurrency)d)
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
