"""Samples: what is made from a payload's schema is a payload, whatever the model and the draw."""

from __future__ import annotations

import random
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, HttpUrl, create_model
from shapes import SHAPES, Arrays, Colour, Line, Maps, Node, Struct, Typed
from taker import fits, made_for

from headrace.cli.sample import NoSample, sample_of

DRAWS = 30


@pytest.mark.parametrize("annotation", SHAPES, ids=str)
def test_a_sample_is_what_the_function_takes(annotation: Any) -> None:
    handler, spec = made_for(annotation)
    for seed in range(DRAWS):
        fits(handler, sample_of(spec, random.Random(seed)))


def test_the_same_draw_makes_the_same_sample() -> None:
    _, spec = made_for(Arrays | Maps | Node)
    assert sample_of(spec, random.Random(5)) == sample_of(spec, random.Random(5))
    assert len({str(sample_of(spec, random.Random(seed))) for seed in range(DRAWS)}) > 10


def test_the_type_can_be_chosen_and_else_each_one_comes() -> None:
    handler, spec = made_for(Typed | Line | Struct)
    for type_ in ("order.placed", "Line", "Struct"):
        sample = sample_of(spec, random.Random(1), type_)
        assert sample.type == type_
        fits(handler, sample)
    assert {sample_of(spec, random.Random(seed)).type for seed in range(DRAWS)} == {"order.placed", "Line", "Struct"}
    with pytest.raises(NoSample, match=r"handle takes no type 'Order'; it takes: Line, Struct, order\.placed"):
        sample_of(spec, random.Random(1), "Order")


def test_a_function_of_any_type_has_a_sample_of_the_type_that_is_named() -> None:
    _, spec = made_for(dict)
    assert sample_of(spec, random.Random(1)) == ({"sample": True}, None)
    assert sample_of(spec, random.Random(1), "Whatever").type == "Whatever"


def test_what_has_a_name_gets_what_that_name_is_for() -> None:
    class Order(BaseModel):
        order_id: str
        email: str
        total: float
        name: str

    _, spec = made_for(Order)
    data: Any = sample_of(spec, random.Random(1)).data
    assert data["order_id"].startswith("order-")
    assert data["email"].endswith("@example.com")
    assert data["name"].istitle()


def test_a_moment_in_a_struct_is_known_by_its_name() -> None:
    class Visit(msgspec.Struct):
        when: datetime
        created_at: datetime

    _, spec = made_for(Visit)
    data: Any = sample_of(spec, random.Random(1)).data
    assert msgspec.convert(data, Visit).when.year == 2025


# -- models of all kinds ------------------------------------------------------------------------------------------

_scalars = st.one_of(
    st.sampled_from([int, str, float, bool, Decimal, datetime, date, uuid.UUID, Colour, Line, Node, Any, HttpUrl]),
    st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 10**4)).map(
        lambda ends: Annotated[int, Field(ge=ends[0], le=ends[0] + ends[1])]
    ),
    st.tuples(st.floats(-1e6, 1e6), st.floats(0.001, 1e4)).map(
        lambda ends: Annotated[float, Field(gt=ends[0], lt=ends[0] + ends[1])]
    ),
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(
        lambda ends: Annotated[str, Field(min_length=ends[0], max_length=ends[0] + ends[1])]
    ),
    st.sampled_from([r"^[A-Z]{2}\d{2,6}$", r"^(a|b)+$", r"^\w+@\w+\.(com|org)$", r"x", r"^$"]).map(
        lambda pattern: Annotated[str, Field(pattern=pattern)]
    ),
)
_kinds = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        inner.map(lambda one: list[one]),
        inner.map(lambda one: dict[str, one]),
        inner.map(lambda one: one | None),
        st.tuples(inner, inner).map(lambda two: tuple[two]),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        st.tuples(inner, st.integers(0, 4)).map(lambda of: Annotated[list[of[0]], Field(min_length=of[1])]),
    ),
    max_leaves=4,
)
_names = st.sampled_from(["id", "order_id", "email", "name", "price", "quantity", "tags", "when", "x"])
_fields = st.dictionaries(_names, st.tuples(_kinds, st.sampled_from([..., None])), max_size=5)


@given(_fields, st.integers(0, 2**32))
def test_whatever_the_model_its_sample_fits(fields: dict[str, Any], seed: int) -> None:
    handler, spec = made_for(create_model("Made", **fields))
    fits(handler, sample_of(spec, random.Random(seed)))
