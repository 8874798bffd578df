"""The test kit: functions run in a test, by the runtime of production, in virtual time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from headrace import (
    Batch,
    Context,
    DeclarationError,
    Discard,
    EmitRefused,
    Reject,
    Retry,
    RetryAfter,
    Sandbox,
    SettingsError,
    TargetError,
    UnknownTopic,
    function,
)
from headrace.functions.errors import HeadraceError
from headrace.testing import TestApp


class Order(BaseModel):
    id: str
    total: float = 1.0


class Mail(BaseModel):
    order: str


class Seen(BaseModel):
    order: str


steadily = Retry(attempts=3, delay=60.0, factor=2.0, max_delay=600.0, jitter="none")


@function("orders", emits={"emails": Mail, "audit": Seen}, retry=steadily)
def confirm(order: Order, ctx: Context) -> Mail:
    ctx.log.info("seen", order=order.id)
    ctx.emit("audit", Seen(order=order.id), key=None, headers={"shop": "north"})
    if order.id.startswith("flaky") and ctx.attempt < 3:
        raise ConnectionError("no server")
    if order.id.startswith("broken"):
        raise ValueError("never")
    if order.id.startswith("stolen"):
        raise Reject("the card is stolen")
    if order.id.startswith("later") and ctx.attempt == 1:
        raise RetryAfter(3600)
    return Mail(order=order.id)


@function("emails", emits="archive")
async def archive(mail: Mail) -> Mail:
    await asyncio.sleep(0)
    return mail


def emit(app: TestApp, *ids: str) -> None:
    for id_ in ids:
        app.emit("orders", Order(id=id_), key=id_[-1])


def orders_of(app: TestApp, topic: str = "emails") -> list[str]:
    return [event.model(Mail).order for event in app.topic(topic)]


# -- what is emitted --------------------------------------------------------------------------------------------------


def test_what_a_handler_emits_is_in_its_topic_with_all_that_an_event_has() -> None:
    app = TestApp(confirm)
    position = app.emit("orders", Order(id="1"), key="a", headers={"trace": "t"})
    assert position == ("orders", 0, 0, "orders-1")
    app.run_until_idle()
    (mail,), (seen,) = app.topic("emails"), app.topic("audit")
    assert (mail.topic, mail.type, mail.key, mail.data, mail.model(Mail)) == (
        "emails",
        "Mail",
        "a",
        {"order": "1"},
        Mail(order="1"),
    )
    assert (mail.source, mail.cause, mail.partition, mail.offset) == ("/test/confirm", "orders-1", 0, 0)
    assert (seen.key, seen.headers["shop"], seen.headers["headrace-hops"]) == (None, "north", "1")
    (order,) = app.topic("orders")
    assert (order.id, order.headers["trace"], order.time) == ("orders-1", "t", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_chain_of_functions_runs_to_its_end_sync_and_async() -> None:
    app = TestApp(confirm, archive)
    emit(app, "1", "2", "3")
    app.run_until_idle()
    assert sorted(orders_of(app, "archive")) == ["1", "2", "3"]
    assert [attempt.outcome for attempt in app.attempts(archive)] == ["done"] * 3


def test_a_view_says_what_it_is_not() -> None:
    app = TestApp(confirm)
    app.emit("orders", Order(id="1"))
    app.emit("orders", None, key="a")
    app.emit("audit", "text")
    app.emit("audit", b"\xff")
    order, gone = app.topic("orders")
    with pytest.raises(AssertionError, match="is no Mail"):
        order.model(Mail)
    assert (gone.data, gone.value) == (None, None)
    with pytest.raises(AssertionError, match="tombstone"):
        gone.model(Order)
    assert [event.data for event in app.topic("audit")] == ["text", b"\xff"]
    with pytest.raises(UnknownTopic, match="emials"):
        app.topic("emials")
    with pytest.raises(EmitRefused, match="cannot be written as JSON"):
        app.emit("orders", {"when": object()})


def test_events_of_one_key_are_handled_in_their_order_and_a_retry_holds_up_only_its_key() -> None:
    app = TestApp(confirm)
    emit(app, "flaky-a", "second-a", "first-b", "second-b")
    app.run_until_idle()
    assert orders_of(app) == ["first-b", "second-b", "flaky-a", "second-a"]


def test_equal_scenarios_leave_equal_events_in_equal_order_at_equal_times() -> None:
    def run() -> list[Any]:
        app = TestApp(confirm, archive, seed=3)
        emit(app, *(f"{kind}-{key}" for kind in ("flaky", "broken", "well", "later") for key in "abcdef"))
        app.run_until_idle()
        return [[str(attempt) for attempt in app.attempts()], app.topic("archive"), app.dead_letters()]

    assert run() == run()


def test_the_same_happens_in_every_process() -> None:
    stories = {
        subprocess.run(
            [sys.executable, "-c", _STORY],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    (story,) = stories
    assert "flaky-c" in story


_STORY = """
from test_testkit import TestApp, archive, confirm, emit
app = TestApp(confirm, archive)
emit(app, *(f"{kind}-{key}" for kind in ("flaky", "broken", "well") for key in "abcdef"))
app.run_until_idle()
print(app.story())
"""


def test_the_seed_decides_the_jitter() -> None:
    def delays(seed: int) -> list[float | None]:
        app = TestApp(jittery, seed=seed)
        app.emit("orders", Order(id="1"))
        app.run_until_idle()
        return [attempt.retry_in for attempt in app.attempts(jittery)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)


@function("orders", retry=Retry(attempts=3, delay=100.0))
def jittery(order: Order) -> None:
    raise ConnectionError(order.id)


# -- retries and dead letters -----------------------------------------------------------------------------------------


def test_retries_take_virtual_time_only() -> None:
    app = TestApp(confirm)
    emit(app, "flaky-1")
    app.run_until_idle()
    assert [(one.attempt, one.outcome, one.retry_in) for one in app.attempts(confirm)] == [
        (1, "failed", 60.0),
        (2, "failed", 120.0),
        (3, "done", None),
    ]
    first, second, third = (one.at for one in app.attempts(confirm))
    assert (round(second - first), round(third - second)) == (60, 120)
    assert app.now - datetime(2026, 1, 1, tzinfo=UTC) >= timedelta(seconds=180)
    assert app.attempts(confirm)[2].logs == [
        {"event": "seen", "order": "flaky-1", "function": "confirm", "event_id": "orders-1", "log_level": "info"}
    ]
    assert [one.topic for one in app.attempts(confirm)[2].emitted] == ["audit", "emails"]


def test_time_passes_as_told() -> None:
    app = TestApp(confirm)
    emit(app, "flaky-1")
    app.advance(0)
    assert len(app.attempts(confirm)) == 1
    app.advance(59)
    assert len(app.attempts(confirm)) == 1
    app.advance(2)
    assert len(app.attempts(confirm)) == 2
    assert app.now == datetime(2026, 1, 1, 0, 1, 1, tzinfo=UTC)
    assert app.topic("emails") == []


def test_what_never_succeeds_is_a_dead_letter_with_the_reason() -> None:
    app = TestApp(confirm)
    emit(app, "broken-1")
    app.run_until_idle()
    (letter,) = app.dead_letters(confirm)
    assert (letter.function, letter.error_type, letter.message, letter.attempt) == ("confirm", "ValueError", "never", 3)
    assert (letter.id, letter.model(Order), letter.topic) == ("orders-1", Order(id="broken-1"), "test.confirm.dlt")
    assert "in confirm" in letter.stack
    assert app.topic("emails") == app.topic("audit") == []


def test_a_rejected_event_is_not_tried_again() -> None:
    app = TestApp(confirm)
    emit(app, "stolen-1")
    app.emit("orders", {"id": 1}, type="Order")
    app.run_until_idle()
    assert [one.outcome for one in app.attempts()] == ["rejected"] * 2
    assert {letter.message for letter in app.dead_letters("confirm")} == {
        "the card is stolen",
        "id: Input should be a valid string",
    }


def test_retry_after_is_honoured_to_the_second() -> None:
    app = TestApp(confirm)
    emit(app, "later-1")
    app.run_until_idle()
    first, second = app.attempts(confirm)
    assert (first.error_type, first.retry_in, round(second.at - first.at)) == ("RetryAfter", 3600.0, 3600)
    assert orders_of(app) == ["later-1"]


def test_what_is_discarded_leaves_no_letter() -> None:
    app = TestApp(careless)
    app.emit("orders", Order(id="1"))
    app.run_until_idle()
    assert app.dead_letters() == app.dead_letters(careless) == []
    assert [one.outcome for one in app.attempts()] == ["rejected"]


@function("orders", dead_letter=Discard("nobody misses it"))
def careless(order: Order) -> None:
    raise Reject(order.id)


def test_old_events_are_not_retried_for_longer_than_max_age_of_virtual_time() -> None:
    app = TestApp(confirm, impatient)
    emit(app, "1")
    app.run_until_idle()
    assert [one.outcome for one in app.attempts(impatient)] == ["failed"] * 3
    assert [letter.attempt for letter in app.dead_letters(impatient)] == [3]


@function("emails", retry=Retry(attempts=100, delay=60, factor=1, jitter="none", max_age=100))
def impatient(mail: Mail) -> None:
    raise ConnectionError(mail.order)


# -- what is not for a handler ----------------------------------------------------------------------------------------


@function("orders", where=lambda order, event: order.total > 10 and event.key == "vip")
def large(order: Order) -> None: ...


def test_what_is_filtered_or_of_another_type_is_skipped() -> None:
    app = TestApp(large)
    app.emit("orders", Order(id="1", total=100), key="vip")
    app.emit("orders", Order(id="2", total=1), key="vip")
    app.emit("orders", Seen(order="3"), key="vip")
    app.emit("orders", None, key="vip")
    app.run_until_idle()
    assert [(one.outcome, one.message) for one in app.attempts(large)] == [
        ("done", None),
        ("skipped", "where"),
        ("skipped", "type: Seen"),
        ("skipped", "null"),
    ]
    assert [one.outcome for one in app.attempts()] != []


@function("ping", emits="pong", max_hops=4)
def ping(data: dict[str, Any], ctx: Context) -> None:
    ctx.emit("pong", data)


@function("pong", emits="ping", max_hops=4)
def pong(data: dict[str, Any], ctx: Context) -> None:
    ctx.emit("ping", data)


def test_a_loop_of_functions_ends_as_a_dead_letter() -> None:
    app = TestApp(ping, pong)
    app.emit("ping", {})
    app.run_until_idle()
    (letter,) = app.dead_letters()
    assert (letter.function, letter.error_type) == ("pong", "loop")
    assert len(app.topic("ping")) == 3


# -- batches, rate, setup ---------------------------------------------------------------------------------------------

sizes: list[int] = []


@function("orders", emits="emails", batch=Batch(size=3, wait=5.0), retry=steadily)
def together(orders: list[Order], ctx: Context) -> list[Mail | None]:
    sizes.append(len(orders))
    for nth, order in enumerate(orders):
        if order.id.startswith("broken"):
            ctx.fail(nth, ValueError("never"))
        if order.id == "poison":
            raise RuntimeError("all of it")
    return [None if order.id.startswith("broken") else Mail(order=order.id) for order in orders]


def test_a_batch_is_full_or_has_waited() -> None:
    sizes.clear()
    app = TestApp(together, partitions=1)
    for n in range(4):
        app.emit("orders", Order(id=str(n)))
    app.advance(1)
    assert (sizes, orders_of(app)) == ([3], ["0", "1", "2"])
    app.run_until_idle()
    assert (sizes, orders_of(app)) == ([3, 1], ["0", "1", "2", "3"])
    assert [round(one.at) for one in app.attempts(together)] == [0, 0, 0, 5]


def test_of_a_batch_only_the_guilty_one_is_charged() -> None:
    sizes.clear()
    app = TestApp(together, partitions=1)
    for id_ in ("1", "broken", "2", "3", "poison", "4"):
        app.emit("orders", Order(id=id_))
    app.run_until_idle()
    assert sorted(orders_of(app)) == ["1", "2", "3", "4"]
    assert {letter.model(Order).id: letter.attempt for letter in app.dead_letters()} == {"broken": 3, "poison": 3}


@function("orders", rate=2.0)
def slowly(order: Order) -> None: ...


def test_a_rate_is_kept_in_virtual_time() -> None:
    app = TestApp(slowly)
    emit(app, *"abcdefghij")
    app.run_until_idle()
    times = [one.at for one in app.attempts(slowly)]
    assert len(times) == 10
    assert times[-1] - times[0] >= 3.5


class Mailbox:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_open = True


mailboxes: list[Mailbox] = []


def mailbox() -> Iterator[Mailbox]:
    mailboxes.append(made := Mailbox())
    yield made
    made.is_open = False


async def later_mailbox() -> AsyncIterator[Mailbox]:
    mailboxes.append(made := Mailbox())
    await asyncio.sleep(0)
    yield made
    await asyncio.sleep(0)
    made.is_open = False


@function("orders", setup=mailbox)
def post(order: Order, ctx: Context[Mailbox]) -> None:
    ctx.state.sent.append(order.id)


@function("orders", setup=later_mailbox)
async def post_later(order: Order, ctx: Context[Mailbox]) -> None:
    ctx.state.sent.append(order.id)


@function("orders", setup=later_mailbox)
def post_anyhow(order: Order, ctx: Context[Mailbox]) -> None:
    ctx.state.sent.append(order.id)


@pytest.mark.parametrize("handler", [post, post_later, post_anyhow])
def test_a_setup_is_opened_once_and_closed_with_the_app(handler: Any) -> None:
    mailboxes.clear()
    with TestApp(handler) as app:
        emit(app, "1")
        app.run_until_idle()
        emit(app, "2")
        app.run_until_idle()
        (box,) = mailboxes
        assert (sorted(box.sent), box.is_open) == (["1", "2"], True)
    assert not box.is_open
    app.close()
    with pytest.raises(HeadraceError, match="this TestApp is closed"):
        app.run_until_idle()
    assert len(app.topic("orders")) == 2


opened: list[int] = []


def stubborn() -> Iterator[int]:
    opened.append(len(opened))
    if len(opened) < 3:
        raise ConnectionError("not yet")
    yield 1


@function("orders", setup=stubborn)
def patient(order: Order) -> None: ...


def test_a_setup_that_fails_pauses_its_function_and_charges_nobody() -> None:
    opened.clear()
    app = TestApp(patient)
    emit(app, "1")
    for _ in range(2):
        with pytest.raises(TargetError, match="the setup of patient failed: ConnectionError: not yet"):
            app.run_until_idle()
    app.run_until_idle()
    assert [(one.attempt, one.outcome) for one in app.attempts()] == [(1, "done")]


def test_a_setup_that_failed_is_tried_again_as_time_passes() -> None:
    opened.clear()
    app = TestApp(patient)
    emit(app, "1")
    app.advance(10)
    assert [one.outcome for one in app.attempts()] == ["done"]


def untidy() -> Iterator[None]:
    yield
    raise RuntimeError("it will not close")


@function("orders", setup=untidy)
def quick(order: Order) -> None: ...


def test_a_setup_that_fails_when_it_is_closed_is_told() -> None:
    app = TestApp(quick)
    emit(app, "1")
    app.run_until_idle()
    with pytest.raises(RuntimeError, match="it will not close"):
        app.close()


# -- real input and output, and the end of its time -------------------------------------------------------------------


@function("orders", emits="emails", retry=steadily)
async def over_the_wire(order: Order) -> Mail:
    server = await asyncio.start_server(_echo, "127.0.0.1")
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(order.id.encode() + b"\n")
        answer = (await reader.readline()).decode().strip()
        writer.close()
        await writer.wait_closed()
    return Mail(order=answer)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


def test_a_handler_does_real_input_and_output_while_the_clock_stands_still() -> None:
    app = TestApp(over_the_wire)
    emit(app, "1", "2")
    app.run_until_idle()
    assert sorted(orders_of(app)) == ["1", "2"]
    assert [one.at for one in app.attempts()] == [0.0, 0.0]


async def test_async_handlers_run_on_the_loop_of_the_test() -> None:
    async with TestApp(confirm, archive, over_the_wire, app="shop") as app:
        loops.clear()
        emit(app, "flaky-1")
        await app.aadvance(61)
        assert len(app.attempts(confirm)) == 2
        await app.arun_until_idle()
        assert orders_of(app, "archive") == ["flaky-1", "flaky-1"]


loops: list[asyncio.AbstractEventLoop] = []


@function("orders", setup=later_mailbox)
async def where_am_i(order: Order) -> None:
    loops.append(asyncio.get_running_loop())


async def test_a_loop_that_runs_is_the_one_of_handlers_and_setups() -> None:
    mailboxes.clear()
    loops.clear()
    async with TestApp(where_am_i) as app:
        emit(app, "1")
        await app.arun_until_idle()
        assert loops == [asyncio.get_running_loop()]
        emit(app, "2")
        with pytest.raises(HeadraceError, match="so: await app"):
            app.run_until_idle()
        await app.arun_until_idle()
    assert [box.is_open for box in mailboxes] == [False]


@function("orders", setup=later_mailbox)
async def ruthless(order: Order) -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if task.get_name() == "setup":
            task.cancel()
    await asyncio.sleep(0)


async def test_a_setup_outlives_what_a_handler_cancels_and_ends_with_its_loop() -> None:
    mailboxes.clear()
    app = TestApp(ruthless)
    emit(app, "1")
    await app.arun_until_idle()
    assert [box.is_open for box in mailboxes] == [True]
    (setup,) = [task for task in asyncio.all_tasks() if task.get_name() == "setup"]
    setup.cancel()
    await asyncio.wait({setup})
    assert [box.is_open for box in mailboxes] == [False]


async def test_sync_handlers_need_no_await_even_where_a_loop_runs() -> None:
    with TestApp(confirm) as app:
        emit(app, "flaky-1")
        app.run_until_idle()
        assert orders_of(app) == ["flaky-1"]


async def test_an_async_handler_that_is_run_without_await_says_what_to_write() -> None:
    app = TestApp(archive)
    app.emit("emails", Mail(order="1"))
    with pytest.raises(HeadraceError, match=r"await app.arun_until_idle\(\)"):
        app.run_until_idle()
    await app.arun_until_idle()
    assert orders_of(app, "archive") == ["1"]


@function("orders", timeout=0.05, retry=Retry(attempts=2, delay=0))
async def endless(order: Order) -> None:
    await asyncio.Event().wait()


@function("orders", timeout=0.05, emits="emails", retry=Retry(attempts=2, delay=0))
def busy(order: Order) -> Mail:
    until = time.monotonic() + 0.06
    while time.monotonic() < until:
        pass
    return Mail(order=order.id)


@pytest.mark.parametrize("handler", [endless, busy])
def test_a_handler_that_takes_too_long_has_timed_out(handler: Any) -> None:
    app = TestApp(handler)
    emit(app, "1")
    app.run_until_idle()
    assert [one.outcome for one in app.attempts()] == ["timed-out"] * 2
    assert [letter.error_type for letter in app.dead_letters()] == ["HandlerTimeout"]


def test_without_timeouts_a_handler_takes_its_time() -> None:
    app = TestApp(busy, timeouts=False)
    emit(app, "1")
    app.run_until_idle()
    assert orders_of(app) == ["1"]


# -- what ends a test -------------------------------------------------------------------------------------------------


@function("orders")
def inspected(order: Order) -> None:
    if order.id == "1":
        pytest.fail("this one must not come")


def test_what_fails_the_test_in_a_handler_fails_the_test() -> None:
    app = TestApp(inspected)
    emit(app, "1")
    with pytest.raises(pytest.fail.Exception, match="must not come"):
        app.run_until_idle()
    with pytest.raises(pytest.fail.Exception, match="must not come"):
        app.run_until_idle()
    app.close()


async def test_a_test_that_is_cancelled_takes_the_handler_along() -> None:
    app = TestApp(endless, timeouts=False)
    emit(app, "1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await app.arun_until_idle()
    assert app.attempts() == []
    assert len(asyncio.all_tasks()) == 1


apps: list[TestApp] = []


@function("orders")
def meddler(order: Order) -> None:
    apps[0].run_until_idle()


def test_a_handler_cannot_run_its_own_app() -> None:
    apps[:] = [app := TestApp(meddler)]
    emit(app, "1")
    app.advance(0)
    assert "runs already" in str(app.attempts()[0].message)


# -- how it is made ---------------------------------------------------------------------------------------------------


@function("orders", sandbox=Sandbox(secrets=["KIT_SECRET"]))
def secretive(order: Order) -> None: ...


def test_a_secret_must_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TestApp(secretive)
    with pytest.raises(SettingsError, match="KIT_SECRET"):
        app.run_until_idle()
    monkeypatch.setenv("KIT_SECRET", "x")
    app.run_until_idle()


@function("orders", start="latest", guarantee="effectively-once", name="newcomer")
def late(order: Order) -> None: ...


def test_all_that_a_test_emits_is_handled_wherever_a_function_starts_in_production() -> None:
    app = TestApp(late)
    emit(app, "1")
    app.run_until_idle()
    assert [one.function for one in app.attempts("newcomer")] == ["newcomer"]


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(DeclarationError, match="needs the functions to run"):
        TestApp()
    with pytest.raises(DeclarationError, match="has no declaration"):
        TestApp(emit)
    with pytest.raises(DeclarationError, match="two functions are named 'confirm'"):
        TestApp(confirm, function("orders", name="confirm")(lambda_like))
    with pytest.raises(DeclarationError, match="is no function of this app; it has: confirm"):
        TestApp(confirm).attempts(archive)


def lambda_like(order: Order) -> None: ...


def test_an_event_waits_for_its_time() -> None:
    app = TestApp(confirm)
    app.emit("orders", Order(id="1"), delay=30)
    app.emit("orders", Order(id="2"), not_before=app.now + timedelta(hours=1))
    app.advance(29)
    assert app.attempts() == []
    app.advance(2)
    assert orders_of(app) == ["1"]
    app.run_until_idle()
    assert orders_of(app) == ["1", "2"]
    assert app.now >= datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_the_story_says_what_happened() -> None:
    app = TestApp(confirm)
    assert "no event was handled" in app.story()
    emit(app, "broken-1", "2")
    app.run_until_idle()
    story = app.story()
    assert "confirm  orders-1 (orders/3@0)  attempt 1  failed: ValueError: never; again in 60 s" in story
    assert "done; emitted Seen to audit; emitted Mail to emails" in story
    assert "info: seen order='broken-1'" in story
    assert "topics: audit 1, emails 1, orders 2, test.confirm.dlt 1" in story
    assert repr(app) == "<TestApp test with confirm: open, 4 attempts>"


def test_an_app_that_is_dropped_leaves_nothing_behind() -> None:
    app = TestApp(post_later, archive)
    emit(app, "1")
    app.run_until_idle()
    del app  # warnings are errors
