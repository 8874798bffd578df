"""Derived ids: the same fields give the same id, different fields different ones."""

from __future__ import annotations

from typing import TypedDict

from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.functions.identity import derived_id, fresh_id


class Fields(TypedDict):
    source: str
    cause: str
    app: str
    function: str
    topic: str
    nth: int


# Few letters, so that fields collide if they are joined without their lengths; surrogate escapes, as ids may have.
text = st.text("a1/\udcff", max_size=4)
fields = st.fixed_dictionaries(
    {"source": text, "cause": text, "app": text, "function": text, "topic": text, "nth": st.integers(0, 12)}
)


@given(fields, fields)
def test_different_fields_give_different_ids(one: Fields, other: Fields) -> None:
    assert (derived_id(**one) == derived_id(**other)) == (one == other)


@given(fields, st.sampled_from(["source", "cause", "app", "function", "topic"]))
def test_every_field_counts(one: Fields, name: str) -> None:
    other: Fields = {**one, name: one[name] + "a"}  # type: ignore[literal-required,misc]
    assert derived_id(**one) != derived_id(**other)
    assert derived_id(**one) != derived_id(**{**one, "nth": one["nth"] + 1})


@given(st.text("ab", min_size=2, max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_where_one_field_ends_and_the_next_begins_counts(joined: str, left: int, right: int) -> None:
    assume(joined[:left] != joined[:right])
    ids = {
        derived_id(source=joined[:cut], cause=joined[cut:], app="", function="", topic="", nth=0)
        for cut in (left, right)
    }
    assert len(ids) == 2


@given(fields)
def test_an_id_is_128_bits_in_hex(one: Fields) -> None:
    assert len(derived_id(**one)) == 32
    int(derived_id(**one), 16)


def test_an_id_stays_what_it_is_from_version_to_version() -> None:
    assert (
        derived_id(source="/web", cause="e-1", app="shop", function="confirm", topic="mails", nth=0)
        == "2c6e8e20922963239e89f9c3786cee46"
    )


def test_fresh_ids_differ() -> None:
    assert len({fresh_id() for _ in range(100)}) == 100
