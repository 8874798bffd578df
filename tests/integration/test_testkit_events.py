"""What a test sees of events in the test kit: those emitted, those skipped, and what is told of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from mailroom import Mail, Order, Seen, archive, confirm, emit, orders_of

from headrace import Context, EmitRefused, UnknownTopic, function
from headrace.testing import TestApp


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
