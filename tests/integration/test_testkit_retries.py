"""The test kit: retries, dead letters and batches are those of production."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailroom import Mail, Order, confirm, emit, orders_of, steadily

from headrace import Batch, Context, Discard, Reject, function
from headrace.testing import TestApp


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


def test_events_of_one_key_are_handled_in_their_order_and_a_retry_holds_up_only_its_key() -> None:
    app = TestApp(confirm)
    emit(app, "flaky-a", "second-a", "first-b", "second-b")
    app.run_until_idle()
    assert orders_of(app) == ["first-b", "second-b", "flaky-a", "second-a"]


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


@function("orders", dead_letter=Discard("nobody misses it"))
def careless(order: Order) -> None:
    raise Reject(order.id)


def test_what_is_discarded_leaves_no_letter() -> None:
    app = TestApp(careless)
    app.emit("orders", Order(id="1"))
    app.run_until_idle()
    assert app.dead_letters() == app.dead_letters(careless) == []
    assert [one.outcome for one in app.attempts()] == ["rejected"]


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
