# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What users write, as type checkers see it. Never run: `make lint` has mypy and pyright (strict) read it.

Each `type: ignore` marks a mistake that a checker must find: both report one that is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, assert_type

from pydantic import BaseModel

from headrace import (
    INHERIT,
    Batch,
    Breaker,
    BrokerError,
    BrokerUnavailable,
    Context,
    DeclarationError,
    Discard,
    EmitRefused,
    Event,
    HeadraceError,
    Item,
    Log,
    Position,
    Reject,
    Retry,
    RetryAfter,
    Sandbox,
    SandboxError,
    SettingsError,
    SyncLog,
    TargetError,
    UnknownTopic,
    connect,
    connect_sync,
    function,
)
from headrace.testing import (
    AppFixture,
    Attempt,
    CrashReport,
    DeadLetter,
    RecordingBatchContext,
    RecordingContext,
    StoredEvent,
    TestApp,
    batch_context,
    check_crash_points,
    context,
    crash_points,
)


class OrderPlaced(BaseModel):
    event_type: ClassVar[str] = "order.placed"
    order_id: str
    email: str


class EmailSent(BaseModel):
    order_id: str


class Connection:
    def send(self, to: str) -> None: ...


def connection() -> Iterator[Connection]:
    yield Connection()


async def later_connection() -> AsyncIterator[Connection]:
    yield Connection()


@function(
    "orders",
    "orders.imported",
    name="confirm",
    emits={"emails": EmailSent, "audit": [OrderPlaced, EmailSent]},
    retry=Retry(attempts=5, delay=1.0, factor=2.0, max_delay=60.0, on=(OSError,), not_on=(PermissionError,)),
    timeout=10.0,
    order="key",
    workers=(0, 4),
    where=lambda order, event: order.email != "" and event.offset > 0,
    unmatched="reject",
    guarantee="effectively-once",
    dead_letter=Discard("a lost confirmation is no loss"),
    breaker=Breaker(failures=10, lanes=3),
    sandbox=Sandbox(network=["tcp:587"], secrets=["SMTP_URL"], files={"templates": "ro"}),
    start=datetime(2026, 1, 1, tzinfo=UTC),
)
async def confirm_order(order: OrderPlaced, ctx: Context) -> EmailSent | None:
    ctx.emit("audit", order, key=INHERIT)
    ctx.emit("audit", {"seen": order.order_id}, key=None, type="order.seen", headers={"shop": "north"})
    ctx.log.info("confirmed", to=order.email)
    assert_type(ctx.event, Event)
    assert_type(ctx.event.type, str | None)
    assert_type(ctx.attempt, int)
    assert_type(ctx.deadline, float)
    if ctx.attempt > 3:
        raise RetryAfter(30.0)
    if "@" not in order.email:
        raise Reject("no address")
    return EmailSent(order_id=order.order_id)


@function("emails", emits="archive", workers=2, setup=connection, rate=10, sandbox=Sandbox.open(), start="latest")
def archive(mail: dict[str, Any], ctx: Context[Connection]) -> list[EmailSent]:
    assert_type(ctx.state, Connection)
    ctx.state.send(mail["to"])
    return []


@function("orders", batch=Batch(size=10, wait=0.1), dead_letter="broken", breaker=None)
def count(orders: list[OrderPlaced]) -> None: ...


@function("orders", emits={"emails": EmailSent}, batch=Batch())
async def confirm_many(orders: list[OrderPlaced], ctx: Context) -> list[EmailSent | None]:
    assert_type(ctx.events, tuple[Event, ...])
    ctx.emit("emails", {}, cause=0)
    ctx.fail(1, ValueError("no address"))
    ctx.fail(1, "no address")  # type: ignore[arg-type]
    return [None for _ in orders]


async def the_decorator_keeps_the_signature(order: OrderPlaced, ctx: Context) -> None:
    assert_type(await confirm_order(order, ctx), EmailSent | None)
    assert_type(archive({}, context(archive, state=Connection())), list[EmailSent])
    count([order])
    await confirm_order("o-1", ctx)  # type: ignore[arg-type]
    await confirm_order(order)  # type: ignore[call-arg]


async def producers_append_and_learn_where() -> None:
    async with connect("sqlite:log.db") as log:
        assert_type(log, Log)
        position = await log.emit("orders", OrderPlaced(order_id="o-1", email="a@example.org"), key="o-1", id="o-1")
        assert_type(position, Position)
        assert_type((position.topic, position.partition, position.offset, position.id), tuple[str, int, int, str])
        await log.emit("orders", {"order_id": "o-2"}, key=2)  # type: ignore[arg-type]
        await log.emit("orders", {"order_id": "o-4"}, delay=1.5)
        await log.emit("orders", {"order_id": "o-5"}, not_before=datetime.now(UTC))
        await log.emit("orders", {"order_id": "o-6"}, delay="5m")  # type: ignore[arg-type]
        assert_type(await log.emit_many("orders", [Item({"order_id": "o-3"}, key="o-3"), b"raw"]), Sequence[Position])
    with connect_sync() as log:
        assert_type(log, SyncLog)
        assert_type(log.emit("orders", b"raw", type="order.raw", headers=[("shop", b"\xff")]), Position)


def tests_look_at_what_was_emitted_and_logged() -> None:
    ctx = context(confirm_order, id="order-1", key="customer-7", attempt=2, headers={"shop": "north"})
    assert_type(ctx, RecordingContext[Any])
    assert_type(ctx.emitted[0].topic, str)
    assert_type(ctx.emitted[0].value, bytes | None)
    assert_type(ctx.logs[0]["event"], Any)
    context(confirm_order, topik="orders")  # type: ignore[call-arg]
    many = batch_context(context(confirm_many, key="a"), context(confirm_many, key="b"), attempt=2)
    assert_type(many, RecordingBatchContext[Any])
    assert_type(many.failed, dict[int, BaseException])


def mistakes_are_found_before_anything_runs() -> None:
    function(1)  # type: ignore[arg-type]
    function("orders", timeuot=10.0)  # type: ignore[call-arg]
    function("orders", timeout="10")  # type: ignore[arg-type]
    function("orders", order="keys")  # type: ignore[arg-type]
    function("orders", retry=5)  # type: ignore[arg-type]
    function("orders", emits=[EmailSent])  # type: ignore[arg-type]
    function("orders", guarantee="exactly-once")  # type: ignore[arg-type]
    function("orders", setup=later_connection)
    function("orders", setup=Connection)  # type: ignore[arg-type]
    function("orders", setup=connection())  # type: ignore[arg-type]
    function("orders", rate="100/s")  # type: ignore[arg-type]
    Retry(attempt=5)  # type: ignore[call-arg]
    Retry(jitter="half")  # type: ignore[arg-type]
    Sandbox(files={"data": "rx"})  # type: ignore[dict-item]
    Retry().attempts = 5  # type: ignore[misc]
    Discard()  # type: ignore[call-arg]


def tests_run_functions_in_virtual_time(headrace_app: AppFixture) -> None:
    with TestApp(confirm_order, archive, app="shop", seed=7, start=datetime(2030, 1, 1, tzinfo=UTC)) as app:
        assert_type(app, TestApp)
        assert_type(app.emit("orders", OrderPlaced(order_id="1", email="a@b.c"), key="1", delay=1.5), Position)
        app.run_until_idle()
        app.advance(60)
        assert_type(app.now, datetime)
        assert_type(app.topic("emails"), Sequence[StoredEvent])
        assert_type(app.topic("emails")[0].model(EmailSent), EmailSent)
        assert_type(app.topic("emails")[0].key, str | None)
        assert_type(app.dead_letters(confirm_order), Sequence[DeadLetter])
        assert_type(app.dead_letters("confirm")[0].error_type, str)
        assert_type(app.attempts(archive)[0], Attempt)
        assert_type(app.attempts(lost=True)[0].retry_in, float | None)
        app.emit("orders", {}, key=1)  # type: ignore[arg-type]
        app.advance("1m")  # type: ignore[arg-type]
    TestApp(confirm_order, sead=7)  # type: ignore[call-arg]
    assert_type(TestApp.from_target("functions.py", partitions=1), TestApp)
    assert_type(headrace_app(confirm_order, seed=7), TestApp)
    assert_type(headrace_app.topic("emails"), Sequence[StoredEvent])


async def tests_run_functions_on_their_own_loop() -> None:
    async with TestApp(confirm_order) as app:
        await app.arun_until_idle()
        await app.aadvance(1.5)


@crash_points(confirm_order, partitions=1, points=[1, 2])
def scenario(app: TestApp) -> None:
    app.emit("orders", {})


def scenarios_survive_crashes() -> None:
    scenario()
    assert_type(check_crash_points(scenario, confirm_order), CrashReport)


def every_error_is_of_one_tree() -> list[type[HeadraceError]]:
    return [
        BrokerError,
        BrokerUnavailable,
        DeclarationError,
        EmitRefused,
        SandboxError,
        SettingsError,
        TargetError,
        UnknownTopic,
    ]
