"""The context a handler gets, as `headrace.testing.context` makes it for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from headrace import Context, DeclarationError, EmitRefused, function
from headrace.testing import context


class Order(BaseModel):
    id: str


@function("orders", "orders.imported", name="confirm", emits={"mails": Order}, timeout=5.0)
async def confirm_order(order: Order, ctx: Context) -> Order:
    ctx.log.info("confirming %s", order.id, attempt=ctx.attempt)
    ctx.emit("mails", order, key=ctx.event.key)
    return order


@function("orders")
def silent(order: Order, ctx: Context) -> None: ...


async def test_a_handler_runs_with_it_as_with_a_real_one() -> None:
    ctx = context(confirm_order, id="e-1", key="k-1", attempt=2)
    assert await confirm_order(Order(id="o-1"), ctx) == Order(id="o-1")
    assert [(emit.topic, emit.key, emit.value, emit.type) for emit in ctx.emitted] == [
        ("mails", b"k-1", b'{"id":"o-1"}', "Order")
    ]
    assert ctx.logs == [
        {"event": "confirming o-1", "attempt": 2, "function": "confirm", "event_id": "e-1", "log_level": "info"}
    ]


def test_a_declared_handler_gives_its_defaults() -> None:
    ctx = context(confirm_order)
    assert ctx.event.topic == "orders"
    assert 0 < ctx.remaining <= 5.0
    ctx.emit("mails", {})
    assert dict(ctx.emitted[0].headers)["ce_source"] == b"/test/confirm"
    with pytest.raises(EmitRefused, match="topic 'audit' is not declared; confirm may emit to: 'mails'"):
        ctx.emit("audit", {})


def test_a_handler_that_declares_no_topic_may_emit_to_none() -> None:
    with pytest.raises(EmitRefused, match="silent may emit to: none"):
        context(silent).emit("mails", {})


def test_without_a_handler_any_topic_will_do() -> None:
    ctx = context()
    ctx.emit("anything", {})
    assert (ctx.event.topic, ctx.event.id, ctx.attempt, ctx.state) == ("test", "event-1", 1, None)
    assert repr(ctx) == "<Context event-1, attempt 1, 1 emitted>"


@pytest.mark.parametrize("emits", ["mails", ["mails"], {"mails": Order}])
def test_the_topics_may_be_given(emits: Any) -> None:
    ctx = context(emits=emits, function="f", app="shop")
    ctx.emit("mails", {})
    assert dict(ctx.emitted[0].headers)["ce_source"] == b"/shop/f"
    with pytest.raises(EmitRefused, match="topic 'audit' is not declared; f may emit to: 'mails'"):
        ctx.emit("audit", {})


def test_the_event_is_as_described() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    ctx = context(
        id="e-1",
        type="Order",
        source="/web",
        time=noon,
        subject="s-1",
        topic="orders",
        partition=3,
        offset=41,
        key=b"\xff",
        headers=[("shop", "north"), ("shop", b"\xff")],
    )
    event = ctx.event
    assert (event.id, event.type, event.source, event.time, event.subject) == ("e-1", "Order", "/web", noon, "s-1")
    assert (event.topic, event.partition, event.offset, event.key) == ("orders", 3, 41, "\udcff")
    assert event.headers[-2:] == (("shop", b"north"), ("shop", b"\xff"))
    assert event.header("shop") == "\udcff"
    assert event.header("ce_subject") == "s-1"
    assert event.header("nothing") is None
    ctx.emit("mails", {})
    assert ctx.emitted[0].key == b"\xff"


def test_lineage_headers_may_be_given_to_test_a_later_hop() -> None:
    ctx = context(headers={"headrace-root": "r-1", "headrace-hops": "3"})
    ctx.emit("mails", {})
    headers = dict(ctx.emitted[0].headers)
    assert (headers["headrace-root"], headers["headrace-hops"]) == (b"r-1", b"4")


def test_the_same_context_emits_the_same_ids() -> None:
    first, second = context(confirm_order, id="e-1"), context(confirm_order, id="e-1")
    first.emit("mails", 1)
    second.emit("mails", 2)
    assert first.emitted[0].id == second.emitted[0].id


def test_time_that_is_over_leaves_nothing() -> None:
    assert context(timeout=-1).remaining == 0.0


def test_the_state_is_what_setup_would_have_yielded() -> None:
    state = {"connection": 1}
    assert context(state=state).state is state


def test_every_log_call_is_kept() -> None:
    ctx = context()
    ctx.log.warning("slow", seconds=3)
    ctx.log.bind(order="o-1").debug("detail")
    ctx.log.error("failed", exc_info=ValueError("x"))
    assert [(entry["event"], entry["log_level"]) for entry in ctx.logs] == [
        ("slow", "warning"),
        ("detail", "debug"),
        ("failed", "error"),
    ]
    assert ctx.logs[0]["seconds"] == 3
    assert ctx.logs[1]["order"] == "o-1"
    assert context().logs == []


def test_a_function_without_a_declaration_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"has no declaration; put @function\(…\) above it"):
        context(print)
