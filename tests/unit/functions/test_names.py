"""Names: which are accepted, and how those of headrace are made."""

from __future__ import annotations

import pytest

from headrace.functions.names import dead_letter_topic_of, group_of, is_function, is_topic


@pytest.mark.parametrize("name", ["orders", "Orders.v2", "a-b_c.9", "...", "x" * 249])
def test_a_topic_may_be_named_as_kafka_allows(name: str) -> None:
    assert is_topic(name)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a b", "a/b", "naïve", "orders\n"])
def test_a_topic_may_not_be_named_as_kafka_refuses(name: str) -> None:
    assert not is_topic(name)


@pytest.mark.parametrize("name", ["confirm_order", "_x", "Confirm-2", "x" * 100])
def test_a_function_may_have_an_identifiers_name_with_hyphens(name: str) -> None:
    assert is_function(name)


@pytest.mark.parametrize("name", ["", "2fast", "-x", "a.b", "a b", "x" * 101, "<lambda>", "x\n"])
def test_a_function_may_not_have_a_name_that_spoils_a_topics(name: str) -> None:
    assert not is_function(name)


def test_group_and_dead_letter_topic_begin_with_app_and_function() -> None:
    assert group_of("shop", "confirm") == "shop.confirm"
    assert dead_letter_topic_of("shop", "confirm") == "shop.confirm.dlt"
