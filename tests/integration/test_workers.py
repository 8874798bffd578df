"""Functions in real worker processes: what they are given, what comes back, what they can see."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lab import Ear, Lab, open_lab, task, wait_until

from headrace.functions.errors import DeclarationError, SandboxError, TargetError
from headrace.functions.partition import partition_of
from headrace.sandbox.headers import unpack
from headrace.sandbox.outcome import Done, Failed, NotRun, Postponed, Rejected, Skipped
from headrace.sandbox.process import WorkerSpec
from headrace.sandbox.target import find_target

ECHO = """
class Order(BaseModel):
    id: str

@function("orders", emits={"out": Order})
%sdef echo(order: Order, ctx: Context) -> Order:
    ctx.emit("out", Order(id="more"), key=None)
    return order
"""

SAYS = """
@function("orders", emits="out")
def tell(data: dict, ctx: Context) -> None:
    ctx.emit("out", [%s])
"""


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as lab:
        yield lab


async def told(lab: Lab, expression: str, **options: object) -> object:
    """What `expression` is inside of a handler."""
    worker, ear = await lab.start(SAYS % expression, **options)
    chunk = lab.chunk(task())
    worker.send(chunk)
    (outcome,) = await ear.outcomes_of(chunk.id, 1)
    await worker.stop(5)
    assert isinstance(outcome, Done), outcome
    return json.loads(outcome.emits[0].value or b"null")[0]


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
    assert await told(lab, source) == "slept"


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


# -- output -----------------------------------------------------------------------------------------------------------


async def test_lines_are_told_by_event_and_stream(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        print("at import")

        @function("orders")
        async def handle(data: dict, ctx: Context) -> None:
            print("on\\tout\\x1b[31m")
            print("no newline", end="")
            print("on err", file=sys.stderr)
            os.write(1, b"bare\\n")
            ctx.log.warning("stock %s", "low", left=3)
        """
    )
    worker.send(lab.chunk(task(headers=[("ce_id", b"e1")])))
    told = {}
    for text in ("at import", "on\tout[31m", "no newline", "on err", "bare", "stock low"):
        line = await ear.line(text)
        told[text] = (line.stream, line.event, line.level, line.fields)
    assert told == {
        "at import": ("stdout", None, None, None),
        "on\tout[31m": ("stdout", "e1", None, None),
        "no newline": ("stdout", "e1", None, None),
        "on err": ("stderr", "e1", None, None),
        "bare": ("stdout", None, None, None),
        "stock low": ("log", "e1", "warning", {"left": 3}),
    }


async def test_a_logged_exception_comes_with_its_traceback(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def handle(data: dict, ctx: Context) -> None:
            try:
                1 / 0
            except ZeroDivisionError:
                ctx.log.exception("odd")
        """
    )
    worker.send(lab.chunk(task()))
    line = await ear.line("odd")
    assert line.level == "error"
    assert "ZeroDivisionError" in (line.fields or {})["exception"]


async def test_two_hundred_thousand_lines_do_not_stall_the_handler_nor_flood_the_listener(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders")
        def chatter(data: dict) -> None:
            for n in range(200_000):
                print("line", n)
        """
    )
    chunk = lab.chunk(task())
    worker.send(chunk)
    assert await ear.outcomes_of(chunk.id, 1) == [None]
    await worker.stop(20)
    assert 0 < len(ear.lines) < 100_000
    dropped = [line for line in ear.lines if "lines dropped" in line.text]
    assert (
        len(ear.lines) - len(dropped) + sum(int(line.text.split()[0].replace(",", "")) for line in dropped) == 200_000
    )


# -- targets ----------------------------------------------------------------------------------------------------------

ONE = """
@function("orders")
def %s(data: dict) -> None:
    "Says what it does."
"""


async def test_the_manifest_of_a_file_says_what_it_declares(lab: Lab) -> None:
    lab.write(
        """
        class Order(BaseModel):
            id: str

        class Sent(BaseModel): ...

        @function("orders", "returns", emits={"emails": Sent}, timeout=5, sandbox=Sandbox(secrets=["TOKEN"]))
        async def confirm(order: Order) -> Sent:
            \"\"\"Tells the customer.

            Politely.
            \"\"\"
            return Sent()
        """,
        "shop.py",
    )
    manifest = await lab.manifest("shop.py")
    (spec,) = manifest.functions
    assert (spec.name, spec.topics, spec.emits, spec.types) == (
        "confirm",
        ["orders", "returns"],
        {"emails": ["Sent"]},
        ["Order"],
    )
    assert (spec.doc, spec.is_async, spec.timeout, spec.explicit) == (
        "Tells the customer.",
        True,
        5.0,
        ["emits", "sandbox", "timeout"],
    )
    assert spec.file == str(lab.folder / "shop.py")
    assert spec.grants.secrets == ["TOKEN"]
    assert json.loads(spec.schema or "")["required"] == ["id"]


async def test_a_folder_is_its_modules_but_for_hidden_and_underscored_ones(lab: Lab) -> None:
    lab.write("from helper import name" + ONE % "one", "functions/a.py")
    lab.write("from _private import shared" + ONE % "two", "functions/b.py")
    lab.write("name = 1", "functions/helper.py")
    lab.write("shared = 1" + ONE % "three", "functions/_private.py")
    lab.write("1 / 0", "functions/.hidden.py")
    assert sorted(spec.name for spec in (await lab.manifest()).functions) == ["one", "two"]


async def test_a_package_is_imported_with_all_its_modules(lab: Lab) -> None:
    lab.write("", "shop/__init__.py")
    lab.write("1 / 0", "shop/__main__.py")
    lab.write("from .deep.inner import two" + ONE % "one", "shop/a.py")
    lab.write("", "shop/deep/__init__.py")
    lab.write(ONE % "two", "shop/deep/inner.py")
    for target in ("shop/", "shop"):
        assert sorted(spec.name for spec in (await lab.manifest(target)).functions) == ["one", "two"]


async def test_a_dotted_module_is_looked_for_where_it_was_started(lab: Lab) -> None:
    lab.write("", "shop/__init__.py")
    lab.write(ONE % "one", "shop/orders.py")
    lab.write(ONE % "two", "shop/bills.py")
    assert [spec.name for spec in (await lab.manifest("shop.orders")).functions] == ["one"]


async def test_the_fingerprint_changes_with_what_is_imported_and_with_nothing_else(lab: Lab) -> None:
    lab.write("import helper" + ONE % "one")
    lab.write("x = 1", "helper.py")
    first = (await lab.manifest()).code
    lab.write("y = 1", "unrelated.py")
    assert (await lab.manifest()).code == first
    worker, _ = await lab.start("import helper" + ONE % "one")
    assert worker.code == first
    lab.write("x = 2", "helper.py")
    assert (await lab.manifest()).code != first
    assert not list(lab.folder.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("source", "error", "parts"),
    [
        ("import nowhere_to_be_found", TargetError, ["functions.py:5: cannot be imported: ModuleNotFoundError"]),
        ("def f():\n    1 / 0\nf()", TargetError, ["functions.py:6: cannot be imported: ZeroDivisionError", "in f"]),
        ("def f(:", TargetError, ["functions.py:5: cannot be imported: SyntaxError"]),
        ("sys.exit(1)", TargetError, ["functions.py:5: cannot be imported: SystemExit"]),
        ("x = 1", TargetError, ["functions.py: holds no function", "@function("]),
        ("Retry(attempts=0)", DeclarationError, ["functions.py:5: ", "attempts"]),
        ("RetryAfter(-1)", TargetError, ["functions.py:5: cannot be imported: ValueError"]),
        ("raise EmitRefused('odd')", DeclarationError, ["functions.py:5: odd"]),
        ("@function('orders')\ndef f(x): ...", DeclarationError, ["functions.py:5: ", "needs a type"]),
        (
            "@function('a')\ndef f(x: dict): ...\n@function('b', name='f')\ndef g(x: dict): ...",
            DeclarationError,
            ["functions.py:5 and ", "functions.py:7: two functions are named 'f'"],
        ),
        (
            "@function('a')\ndef f(x: dict): ...\n@function('shop.f.dlt')\ndef g(x: dict): ...",
            DeclarationError,
            ["functions.py:7: g subscribes to 'shop.f.dlt'"],
        ),
        ("time.sleep(0)\nos._exit(3)", SandboxError, ["functions.py: importing it ended the worker", "code 3"]),
    ],
)
async def test_what_is_wrong_with_a_module_is_told_with_its_place(
    lab: Lab, source: str, error: type[Exception], parts: list[str]
) -> None:
    lab.write(source)
    with pytest.raises(error) as caught:
        await lab.manifest()
    assert type(caught.value) is error
    for part in parts:
        assert part in str(caught.value)
    assert "headrace/sandbox" not in str(caught.value)


async def test_a_missing_module_is_told_from_a_missing_import(lab: Lab) -> None:
    with pytest.raises(TargetError, match="there is no module 'nowhere'"):
        await lab.manifest("nowhere")
    lab.write("import nowhere", "somewhere.py")
    with pytest.raises(TargetError, match=r"somewhere.py:5: cannot be imported"):
        await lab.manifest("somewhere")


async def test_a_file_that_hides_a_module_of_python_is_refused(lab: Lab) -> None:
    lab.write(ONE % "one", "json.py")
    with pytest.raises(TargetError, match=r"json.py: a module named 'json' is part of Python .* rename"):
        await lab.manifest("json.py")


async def test_a_module_that_takes_too_long_is_ended(lab: Lab) -> None:
    lab.write("threading.Event().wait()")
    spec = WorkerSpec(find_target(None, lab.folder), None, "shop", "", {}, {})
    with pytest.raises(TargetError, match=r"importing it took more than 0\.5 s"):
        await lab.zygote.spawn(spec, Ear(), ready_timeout=0.5)


async def test_a_function_that_is_not_there_any_more_is_named(lab: Lab) -> None:
    lab.write(ONE % "one")
    spec = await lab.spec()
    lab.write(ONE % "two")
    with pytest.raises(TargetError, match="no function is named 'one' any more; it has: two"):
        await lab.zygote.spawn(spec, Ear())


# -- what a worker is given -------------------------------------------------------------------------------------------


async def test_user_code_is_imported_in_workers_only(lab: Lab) -> None:
    log = lab.folder / "pids"
    worker, _ = await lab.start(f"Path({str(log)!r}).open('a').write(f'{{os.getpid()}}\\n')" + ONE % "one")
    pids = [int(line) for line in log.read_text().split()]
    assert len(pids) == 2  # the manifest's and the function's
    assert worker.pid in pids
    assert os.getpid() not in pids
    assert lab.zygote.pid not in pids
    assert "functions" not in sys.modules


async def test_a_worker_has_its_secrets_and_nothing_else_of_ours(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_SECRET", "for somebody else")
    names = await told(lab, "dict(os.environ)", environment={"TOKEN": "s3cret"})
    assert isinstance(names, dict)
    assert names["TOKEN"] == "s3cret"
    assert "OTHER_SECRET" not in names
    assert names["HOME"] == names["TMPDIR"]


async def test_a_secret_is_in_no_other_process(lab: Lab) -> None:
    worker, _ = await lab.start(ONE % "one", environment={"TOKEN": "s3cret-" + "x" * 20})
    block = b"s3cret-" + b"x" * 20
    for pid in (lab.zygote.pid, worker.pid):  # the worker's is the zygote's: what it was started with
        assert block not in Path(f"/proc/{pid}/environ").read_bytes()
    assert block not in Path(f"/proc/{lab.zygote.pid}/cmdline").read_bytes()


async def test_a_worker_has_a_folder_of_its_own_that_goes_with_it(lab: Lab) -> None:
    worker, ear = await lab.start(SAYS % "os.environ['TMPDIR']")
    chunk = lab.chunk(task())
    worker.send(chunk)
    (outcome,) = await ear.outcomes_of(chunk.id, 1)
    assert isinstance(outcome, Done)
    folder = Path(json.loads(outcome.emits[0].value or b"")[0])
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "left behind").touch()
    await worker.stop(5)
    await wait_until(lambda: not folder.exists(), "its removal")


async def test_a_worker_has_no_file_open_but_its_own(lab: Lab) -> None:
    inherited = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        found = await told(lab, "sorted(os.readlink(entry.path) for entry in os.scandir('/proc/self/fd'))")
    finally:
        os.close(inherited)
    assert isinstance(found, list)
    ours = [path for path in found if not path.startswith("/proc/")]  # the look itself opens that folder
    assert [path.partition(":")[0] for path in ours] == ["/dev/null", "/memfd", "pipe", "pipe", "socket"]


async def test_a_worker_loads_nothing_of_the_runtime(lab: Lab) -> None:
    loaded = await told(lab, "[name for name in sys.modules if name.startswith('headrace.')]")
    assert isinstance(loaded, list)
    assert "headrace.functions.declare" in loaded
    assert [name for name in loaded if name.startswith(("headrace.runtime", "headrace.triggers", "headrace.cli"))] == []


async def test_a_worker_is_behind_its_limits(lab: Lab) -> None:
    limits = (
        "[__import__('resource').getrlimit(n) for n in (4, 7, 1)]"
        " + [open('/proc/self/oom_score_adj').read().strip(), os.getsid(0) == os.getpid(), os.umask(0), os.nice(0),"
        " 'NoNewPrivs:\\t1' in open('/proc/self/status').read(), os.getcwd()]"
    )
    assert await told(lab, limits) == [
        [0, 0], [256, 256], [64 << 20, 64 << 20], "1000", True, 0o077, 5, True, str(lab.folder),
    ]  # fmt: skip


async def test_memory_beyond_the_limit_is_a_memory_error(lab: Lab) -> None:
    worker, ear = await lab.start(
        """
        @function("orders", sandbox=Sandbox(memory=64 << 20))
        def hoard(data: dict) -> None:
            bytearray(100 << 20)
        """
    )
    chunk = lab.chunk(task(offset=0), task(offset=1))
    worker.send(chunk)
    outcomes = await ear.outcomes_of(chunk.id, 2)
    assert [outcome.failure.type for outcome in outcomes if isinstance(outcome, Failed)] == ["MemoryError"] * 2
