"""Samples: what cannot be made is left out where it may be, and told where it may not."""

from __future__ import annotations

import random
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, create_model
from taker import fits, made_for

from headrace.cli.sample import NoSample, sample_of


def test_what_cannot_be_made_is_told_with_its_place_and_a_remedy() -> None:
    class Part(BaseModel):
        vat: str = Field(pattern=r"^\p{Lu}{2}$")

    class Order(BaseModel):
        parts: list[Part] = Field(min_length=1)

    with pytest.raises(NoSample, match=r"handle: .*: parts\[0\]\.vat has to be text that matches '.*Field\(examples="):
        sample_of(made_for(Order)[1], random.Random(1))

    class Endless(BaseModel):
        inner: Endless

    Endless.model_rebuild(_types_namespace={"Endless": Endless})
    with pytest.raises(NoSample, match="inner: Endless holds itself without end"):
        sample_of(made_for(Endless)[1], random.Random(1))

    class Narrow(BaseModel):
        n: int = Field(gt=3, lt=4)

    with pytest.raises(NoSample, match="n: no multiple of 1 lies within its bounds"):
        sample_of(made_for(Narrow)[1], random.Random(1))


def test_what_cannot_be_made_is_left_out_where_it_may_be() -> None:
    class Order(BaseModel):
        id: int
        vat: str | None = Field(None, pattern=r"a\bb")
        more: list[Annotated[str, Field(pattern=r"a\bb")]]

    handler, spec = made_for(Order)
    sample = sample_of(spec, random.Random(1))
    fits(handler, sample)
    assert sample.data["more"] == []  # type: ignore[index]


def test_models_that_hold_each_other_make_no_endless_sample() -> None:
    models: dict[str, Any] = {}
    for number in range(8):
        fields: dict[str, Any] = {f"f{other}": (f"M{other} | None", ...) for other in range(8)}
        models[f"M{number}"] = create_model(f"M{number}", __module__=__name__, **fields)
    for model in models.values():
        model.model_rebuild(_types_namespace=models)
    handler, spec = made_for(models["M0"])
    sample = sample_of(spec, random.Random(1))
    fits(handler, sample)
    assert len(str(sample.data)) < 100_000
