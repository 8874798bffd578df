"""What counts as the same in the topics after a crash."""

from __future__ import annotations

from typing import Any

from headrace import Context, function
from headrace.testing.comparison import Entry, differences, ordered_topics
from headrace.testing.subject import subject_of


def entry(number: int, key: str | None = "a", value: bytes = b"{}") -> Entry:
    return Entry(str(number), "Order", key, value)


def found(expected: list[Entry], there: list[Entry], *, ordered: bool = True) -> list[str]:
    return differences({"orders": expected}, {"orders": there}, {"orders"} if ordered else set())


def test_the_same_is_the_same() -> None:
    assert found([entry(1), entry(2)], [entry(1), entry(2)]) == []


def test_the_order_of_keys_among_each_other_is_free() -> None:
    assert found([entry(1), entry(2, "b")], [entry(2, "b"), entry(1)]) == []
    assert found([entry(1, None), entry(2, None)], [entry(2, None), entry(1, None)]) == []


def test_a_keys_order_counts_where_there_is_one() -> None:
    (problem,) = found([entry(1), entry(2)], [entry(2), entry(1)])
    assert problem == "topic 'orders': the events of key 'a' are in another order: 2, 1, not 1, 2"
    assert found([entry(1), entry(2)], [entry(2), entry(1)], ordered=False) == []


def test_what_is_missing_doubled_changed_or_new_is_named() -> None:
    assert found([entry(1)], []) == ["topic 'orders': missing: Order 1, key 'a': {}"]
    assert found([entry(1)], [entry(1), entry(1)]) == ["topic 'orders': doubled: Order 1, key 'a': {}"]
    assert found([entry(1)], [entry(1, value=b"[]")]) == ["topic 'orders': changed: Order 1, key 'a': {}, is now []"]
    assert found([], [entry(1)]) == ["topic 'orders': not there without the crash: Order 1, key 'a': {}"]
    assert len(found([entry(n) for n in range(20)], [])) == 6


def test_a_topic_that_is_not_there_at_all_is_an_empty_one() -> None:
    assert differences({"orders": [entry(1)]}, {}, set()) == ["topic 'orders': missing: Order 1, key 'a': {}"]


@function("orders", emits=("emails"))
def one(data: dict[str, Any]) -> None: ...


@function("emails", emits="archive")
def two(data: dict[str, Any], ctx: Context) -> None: ...


@function("orders", emits="loose", order="none")
def free(data: dict[str, Any]) -> None: ...


@function("orders", "emails", emits="mixed")
def both(data: dict[str, Any]) -> None: ...


@function("loose", emits="looser")
def after(data: dict[str, Any]) -> None: ...


def test_order_is_promised_where_one_ordered_function_writes_from_one_ordered_topic() -> None:
    subject = subject_of([one, two, free, both, after], "test")
    assert ordered_topics(subject, {"orders"}) == {
        "orders",
        "emails",
        "archive",
        "test.one.dlt",
        "test.two.dlt",
    }
    assert "emails" not in ordered_topics(subject, {"orders", "emails"})


@function("ping", emits="pong")
def ping(data: dict[str, Any]) -> None: ...


@function("pong", emits="ping")
def pong(data: dict[str, Any]) -> None: ...


def test_a_loop_has_no_order() -> None:
    assert ordered_topics(subject_of([ping, pong], "test"), {"ping"}) == set()
