"""Setups in the test kit: opened once, closed with the app, and tried again when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from mailroom import Mailbox, Order, archive, emit, later_mailbox, mailbox, mailboxes

from headrace import Context, TargetError, function
from headrace.functions.errors import HeadraceError
from headrace.testing import TestApp


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


def test_an_app_that_is_dropped_leaves_nothing_behind() -> None:
    app = TestApp(post_later, archive)
    emit(app, "1")
    app.run_until_idle()
    del app  # warnings are errors
