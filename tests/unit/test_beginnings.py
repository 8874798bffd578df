"""Functions without progress on a topic with a backlog: told apart, and asked for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headrace.functions.errors import SettingsError
from headrace.runtime.beginnings import BACKLOG, Beginning, Beginnings
from headrace.runtime.ports import Bounds, Lag, TopicInfo


@dataclass(frozen=True)
class Spec:
    """As much of a function as matters here."""

    name: str
    topics: tuple[str, ...] = ("orders",)
    start: str | None = None


def topics(events: int) -> dict[str, TopicInfo]:
    half = events // 2
    return {"orders": TopicInfo("orders", [Bounds(10, 10 + half), Bounds(0, events - half)], 0)}


def beginnings(*specs: Spec, events: int = BACKLOG + 1, progress: tuple[str, ...] = ()) -> Beginnings:
    lags = [Lag(group, ("orders", 0), 0, 0, b"") for group in progress]
    return Beginnings("shop", specs, topics(events), lags)  # type: ignore[arg-type]


def test_only_a_function_that_nobody_told_and_that_has_a_backlog_is_undecided() -> None:
    found = beginnings(Spec("new"), Spec("told", start="latest"), Spec("old"), progress=("shop.old",)).undecided()
    assert found == [Beginning("new", "orders", BACKLOG + 1)]
    assert beginnings(Spec("new"), events=BACKLOG).undecided() == []


def test_the_refusal_names_function_topic_count_and_what_to_do() -> None:
    with pytest.raises(
        SettingsError, match=r"'new' has no progress on topic 'orders', which has 1,001 .*--start new=e"
    ):
        beginnings(Spec("new")).check()
    beginnings(Spec("new"), events=3).check()


def test_progress_without_a_function_is_named_because_it_may_be_what_the_new_one_was_called() -> None:
    with pytest.raises(SettingsError, match=r"progress of shop\.before, and no such function.*name='before'"):
        beginnings(Spec("new"), Spec("old"), progress=("shop.old", "shop.before")).check()
