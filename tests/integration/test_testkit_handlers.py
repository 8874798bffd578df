"""Handlers in the test kit run for real, on the test's own loop, and can fail, hang or outlast their test."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from mailroom import Mail, Order, archive, confirm, emit, later_mailbox, mailboxes, orders_of, steadily

from headrace import Retry, function
from headrace.functions.errors import HeadraceError
from headrace.testing import TestApp


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
