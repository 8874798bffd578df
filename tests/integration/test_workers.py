"""Functions in real worker processes: what they are given, what comes back, what they can see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import Lab, task

from headrace.functions.partition import partition_of
from headrace.sandbox.headers import unpack
from headrace.sandbox.outcome import Done, Failed, NotRun, Postponed, Rejected, Skipped

ECHO = """
class Order(BaseModel):
    id: str

@function("orders", emits={"out": Order})
%sdef echo(order: Order, ctx: Context) -> Order:
    ctx.emit("out", Order(id="more"), key=None)
    return order
"""


# -- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "async "])
async def test_a_handler_is_done_with_its_emits_placed_by_key(lab: Lab, kind: str) -> None:
    worker, ear = await lab.start(ECHO % kind)
    chunk = lab.chunk(task(b'{"id":"a"}', key=b"k", headers=[("ce_id", b"e1"), ("ce_source", b"/web")]))
    worker.send(chunk)
    assert worker.in_flight == 1
    (outcome,) = await ear.outcomes_of(chunk.id, 1)
    assert worker.in_flight == 0
    assert isinstance(outcome, Done)
    more, order = outcome.emits
    assert (more.value, more.key, more.partition) == (b'{"id":"more"}', None, partition_of(more.id.encode(), 4))
    assert (order.value, order.key, order.partition) == (b'{"id":"a"}', b"k", partition_of(b"k", 4))
    assert order.type == "Order"
    headers = dict(unpack(order.headers))
    assert headers["ce_id"] == order.id.encode()
    assert (headers["ce_source"], headers["headrace-cause"]) == (b"/shop/echo", b"e1")


async def test_a_redelivered_event_emits_the_same_ids_to_the_same_partitions(lab: Lab) -> None:
    seen = []
    for _ in range(2):  # each time another worker
        worker, ear = await lab.start(ECHO % "")
        chunk = lab.chunk(task(b'{"id":"a"}', offset=7))
        worker.send(chunk)
        (outcome,) = await ear.outcomes_of(chunk.id, 1)
        assert isinstance(outcome, Done)
        seen.append([(emit.id, emit.partition) for emit in outcome.emits])
        await worker.stop(5)
    assert seen[0] == seen[1]
    assert len({id_ for id_, _ in seen[0]}) == 2


async def test_each_way_to_end_has_its_outcome(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        class Order(BaseModel):
            how: str

        def place(how):
            raise KeyError(how)

        @function("orders", retry=Retry(not_on=(ZeroDivisionError,)), where=lambda order, event: order.how != "where")
        def handle(order: Order, ctx: Context) -> None:
            match order.how:
                case "reject": raise Reject("no such customer")
                case "later": raise RetryAfter(12.5)
                case "wrong": place("lost")
                case "final": 1 / 0
                case "refused": ctx.emit("elsewhere", {})
                case "exit": sys.exit(3)
                case "interrupt": raise KeyboardInterrupt
        """
    )
    ways = ["done", "reject", "later", "wrong", "final", "refused", "exit", "interrupt", "where"]
    tasks = [task(json.dumps({"how": how}).encode(), offset=n) for n, how in enumerate(ways)]
    other = task(b"{}", headers=[("ce_type", b"Invoice")], offset=20)
    loop = task(headers=[("headrace-hops", b"17")], offset=21)
    chunk = lab.chunk(*tasks, other, task(None, offset=22), task(b"{", offset=23), loop)
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, len(chunk.tasks))
    named = dict(zip([*ways, "other", "null", "broken", "loop"], outcomes, strict=True))

    assert named["done"] is None
    assert named["where"] == Skipped("where")
    assert named["other"] == Skipped("type", "Invoice")
    assert named["null"] == Skipped("null")
    assert named["later"] == Postponed(12.5)
    reject, broken, looped = named["reject"], named["broken"], named["loop"]
    assert isinstance(reject, Rejected)
    assert (reject.failure.type, reject.failure.message) == ("Rejected", "no such customer")
    assert isinstance(broken, Rejected)
    assert broken.failure.type == "Rejected"
    assert isinstance(looped, Rejected)
    assert looped.failure.type == "loop"
    refused, wrong, final = named["refused"], named["wrong"], named["final"]
    assert isinstance(refused, Failed)
    assert (refused.failure.type, refused.rule) == ("EmitRefused", None)
    assert isinstance(final, Failed)
    assert (final.failure.type, final.rule) == ("ZeroDivisionError", None)
    assert isinstance(wrong, Failed)
    assert (wrong.failure.type, wrong.failure.message, wrong.rule) == ("KeyError", "'lost'", 0)
    for way, type_ in (("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")):
        failed = named[way]
        assert isinstance(failed, Failed)
        assert failed.failure.type == type_
    assert [line.split(", in ")[1] for line in wrong.failure.stack.splitlines() if ", in " in line] == [
        "handle",
        "place",
    ]
    assert "headrace/" not in wrong.failure.stack


async def test_a_reason_that_is_an_exception_is_told_by_its_text(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def handle(data: dict) -> None:
            raise Reject(KeyError("no such customer"))
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    (why,) = await ear.outcomes_of(chunk.id, 1)
    assert isinstance(why, Rejected)
    assert (why.failure.type, why.failure.message) == ("Rejected", "'no such customer'")


async def test_emits_of_more_than_four_megabytes_are_refused(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", emits="out")
        def flood(data: dict, ctx: Context) -> None:
            for _ in range(data["times"]):
                ctx.emit("out", b"x" * 1_000_000)
        """
    )
    chunk = lab.chunk(*[task(b'{"times": 4}', offset=n) for n in range(5)], task(b'{"times": 5}', offset=9))
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 6)
    assert [len(outcome.emits) for outcome in outcomes[:5] if isinstance(outcome, Done)] == [4] * 5
    refused = outcomes[5]
    assert isinstance(refused, Failed)
    assert refused.failure.type == "EmitRefused"
    assert refused.rule is None


async def test_outcomes_that_are_known_do_not_wait_for_a_long_event_behind_them(lab: Lab, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker, ear = await lab.start(
        f"""
        @function("orders")
        def handle(data: dict) -> None:
            if data.get("wait"):
                while not os.path.exists({str(gate)!r}):
                    time.sleep(0.001)
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1), task(b'{"wait": 1}', offset=2))
    worker.send(chunk)
    await ear.until(lambda: len(ear.outcomes.get(chunk.id, ())) == 2)  # the third cannot end before the gate opens
    gate.touch()
    assert await ear.outcomes_of(chunk.id, 3) == [None] * 3


async def test_an_async_handlers_tasks_go_on_between_events(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        background = set()

        async def later(name):
            await asyncio.sleep(0)
            print("later", name)

        @function("orders")
        async def handle(data: dict) -> None:
            background.add(asyncio.create_task(later(data["name"])))
        """
    )
    worker.send(lab.chunk(task(b'{"name": "a"}', headers=[("ce_id", b"e-a")])))
    assert (await ear.line("later a")).event == "e-a"


async def test_a_sync_handler_may_run_a_loop_of_its_own(lab: Lab) -> None:
    source = "asyncio.run(asyncio.sleep(0, 'slept'))"
    assert await lab.told(source) == "slept"


# -- lanes ------------------------------------------------------------------------------------------------------------

FAILS = """
@function("orders", order="%s")
def handle(data: dict) -> None:
    if data:
        raise ValueError
"""
BAD = b'{"bad": 1}'


async def test_after_a_failure_events_of_the_same_key_are_not_run_and_others_are(lab: Lab) -> None:
    worker, ear = await lab.start(FAILS % "key")
    chunk = lab.chunk(
        task(BAD, key=b"a", offset=0),
        task(key=b"a", offset=1),
        task(key=b"b", offset=2),
        task(offset=3),
        task(BAD, offset=4),
        task(offset=5),
        task(key=b"a", offset=6, epoch=1),
        task(key=b"a", offset=7, epoch=0),
    )
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 8)
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == ["Failed", "NotRun", "NoneType", "NoneType", "Failed", "NoneType", "NoneType", "NotRun"]


@pytest.mark.parametrize(("order", "kind"), [("partition", "NotRun"), ("none", "NoneType")])
async def test_what_a_failure_holds_back_goes_by_the_order(lab: Lab, order: str, kind: str) -> None:
    worker, ear = await lab.start(FAILS % order)
    chunk = lab.chunk(task(BAD, key=b"a", offset=0), task(key=b"b", offset=1), task(key=b"a", offset=2))
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 3)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Failed", kind, kind]


async def test_a_rejected_event_holds_nothing_back(lab: Lab) -> None:
    worker, ear = await lab.start(FAILS % "key")
    chunk = lab.chunk(task(b"{", key=b"a", offset=0), task(key=b"a", offset=1))
    worker.send(chunk)
    assert [type(o).__name__ for o in await ear.outcomes_of(chunk.id, 2)] == ["Rejected", "NoneType"]


async def test_a_chunk_sent_after_a_failure_was_reported_runs(lab: Lab) -> None:
    worker, ear = await lab.start(FAILS % "key")
    first, second = lab.chunk(task(BAD, key=b"a")), lab.chunk(task(key=b"a"))
    worker.send(first)
    await ear.outcomes_of(first.id, 1)
    worker.send(second)
    assert await ear.outcomes_of(second.id, 1) == [None]


async def test_a_recalled_worker_finishes_what_runs_and_gives_the_rest_back(lab: Lab, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    worker, ear = await lab.start(
        f"""
        @function("orders")
        def handle(data: dict) -> None:
            print("started")
            while not os.path.exists({str(gate)!r}):
                time.sleep(0.001)
        """
    )
    first, second = lab.chunk(task(offset=0), task(offset=1)), lab.chunk(task(offset=2))
    worker.send(first)
    worker.send(second)
    await ear.line("started")
    worker.recall()
    gate.touch()
    assert await ear.outcomes_of(first.id, 2) == [None, NotRun()]
    assert await ear.outcomes_of(second.id, 1) == [NotRun()]
    third = lab.chunk(task(offset=1))
    worker.send(third)
    assert await ear.outcomes_of(third.id, 1) == [None]  # it is not recalled from what is sent later


async def test_a_stopped_worker_finishes_what_it_was_sent(lab: Lab) -> None:
    worker, ear = await lab.start(FAILS % "key")
    chunk = lab.chunk(*[task(offset=n) for n in range(1000)])
    worker.send(chunk)
    await worker.stop(20)
    assert ear.outcomes[chunk.id] == [None] * 1000
    assert [death.reason for death in ear.deaths] == ["stopped"]


async def test_a_stopped_worker_runs_what_was_registered_for_its_exit(lab: Lab, tmp_path: Path) -> None:
    worker, _ = await lab.start(
        f"""
        import atexit

        @function("orders")
        def handle(data: dict) -> None: ...

        atexit.register(Path({str(tmp_path)!r}, f"ended-{{os.getpid()}}").touch)
        """
    )
    mark = tmp_path / f"ended-{worker.pid}"
    assert not mark.exists()
    await worker.stop(20)
    assert mark.exists()


# -- the context ------------------------------------------------------------------------------------------------------


async def test_the_context_tells_of_the_event_and_the_attempt(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", emits="out", timeout=30)
        def tell(data: dict, ctx: Context) -> None:
            event = ctx.event
            ctx.emit("out", [event.id, event.source, event.topic, event.partition, event.offset, event.key,
                             event.time.isoformat(), ctx.attempt, 25 < ctx.remaining <= 30, event.header("x")])
        """
    )
    chunk = lab.chunk(task(offset=9, key=b"k", headers=[("x", b"1")], attempt=3))
    worker.send(chunk)
    (outcome,) = await ear.outcomes_of(chunk.id, 1)
    assert isinstance(outcome, Done)
    assert json.loads(outcome.emits[0].value or b"") == [
        "orders/2/9", "cluster-1", "orders", 2, 9, "k", "2023-11-14T22:13:20+00:00", 3, True, "1",
    ]  # fmt: skip
