"""The context of a batch, as `headrace.testing.batch_context` makes it for tests."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from headrace import Batch, Context, EmitRefused, HeadraceError, function
from headrace.testing import batch_context, context


class Order(BaseModel):
    id: str


@function("orders", emits="seen", batch=Batch(size=10))
def tally(orders: list[Order], ctx: Context[str]) -> None:
    ctx.log.info("tallying", count=len(orders))
    for i, order in enumerate(orders):
        if order.id == "bad":
            ctx.fail(i, ValueError(order.id))
        else:
            ctx.emit("seen", {"id": order.id, "by": ctx.state}, cause=i)


def of(*keys: str) -> list:  # type: ignore[type-arg]
    return [context(tally, id=f"e-{key}", key=key) for key in keys]


def test_a_batch_handler_runs_with_it_as_with_a_real_one() -> None:
    ctx = batch_context(*of("a", "b", "c"), state="me")
    tally([Order(id="1"), Order(id="bad"), Order(id="3")], ctx)
    assert [(emit.key, emit.value) for emit in ctx.emitted] == [
        (b"a", b'{"id":"1","by":"me"}'),
        (b"c", b'{"id":"3","by":"me"}'),
    ]
    assert [str(error) for error in ctx.failed.values()] == ["bad"]
    assert list(ctx.failed) == [1]
    assert ctx.logs == [{"event": "tallying", "count": 3, "function": "tally", "log_level": "info"}]
    assert repr(ctx) == "<Context of 3 events, attempt 1, 2 emitted, 1 failed>"


def test_each_event_has_its_place() -> None:
    ctx = batch_context(*of("a", "b"))
    assert [event.id for event in ctx.events] == ["e-a", "e-b"]
    with pytest.raises(HeadraceError, match=r"a batch has many events: ctx\.events\[i\]"):
        ctx.event  # noqa: B018
    for call in (lambda: ctx.fail(2, ValueError()), lambda: ctx.emit("seen", {}, cause=-1)):
        with pytest.raises(HeadraceError, match="in this batch: it has 0 to 1"):
            call()


def test_an_emit_without_a_cause_is_refused() -> None:
    with pytest.raises(EmitRefused, match=r"in a batch each emit names the event that it comes of"):
        batch_context(*of("a")).emit("seen", {})


def test_the_same_cause_derives_the_same_ids_in_any_company() -> None:
    first, second = batch_context(*of("a", "b")), batch_context(*of("b"))
    for ctx, cause in ((first, 1), (second, 0)):
        ctx.emit("seen", {}, cause=cause)
    assert first.emitted[0].id == second.emitted[0].id


def test_what_is_for_batches_is_refused_elsewhere() -> None:
    ctx = context()
    assert ctx.events == (ctx.event,)
    ctx.emit("seen", {}, cause=0)
    with pytest.raises(EmitRefused, match="cause=1 is for batch handlers; here is one event"):
        ctx.emit("seen", {}, cause=1)
    with pytest.raises(HeadraceError, match="is for batch handlers; raise the error instead"):
        ctx.fail(0, ValueError())


def test_a_batch_without_events_is_none() -> None:
    with pytest.raises(ValueError, match="needs a context for each event"):
        batch_context()
