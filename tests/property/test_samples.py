"""Samples: what is made from a payload's schema is a payload, whatever the model and the draw."""

from __future__ import annotations

import enum
import ipaddress
import random
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from re import Pattern
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    DirectoryPath,
    Field,
    HttpUrl,
    IPvAnyAddress,
    Json,
    RootModel,
    SecretStr,
    StringConstraints,
    create_model,
)
from typing_extensions import TypedDict

from headrace import Batch, function
from headrace.cli.sample import NoSample, Sample, sample_of
from headrace.functions.codec import encode
from headrace.functions.declare import declaration_of
from headrace.functions.payload import Skip, Unfit
from headrace.functions.signature import Handler, read_signature
from headrace.sandbox.manifest import FunctionSpec
from headrace.sandbox.specification import spec_of

DRAWS = 30


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Line(BaseModel):
    sku: str
    quantity: int = Field(gt=0, le=9)


class Bounds(BaseModel):
    a: int = Field(ge=5)
    b: int = Field(lt=-5)
    c: int = Field(gt=3, lt=5)
    d: int = Field(ge=1_000_000)
    e: int = Field(multiple_of=7, ge=700, le=710)
    f: int = Field(le=0)
    g: float = Field(gt=0, lt=1)
    h: float = Field(multiple_of=0.5, gt=3)
    i: float = Field(gt=1e9)
    j: float = Field(ge=-3.5, le=-3.5)
    k: int = Field(multiple_of=1000)
    price: float = Field(gt=1000)
    total: float = Field(lt=1)
    quantity: int = Field(ge=100)


class Decimals(BaseModel):
    plain: Decimal
    price: Decimal = Field(gt=0, max_digits=5, decimal_places=2)
    whole: Decimal = Field(decimal_places=0)


class Texts(BaseModel):
    short: str = Field(max_length=3)
    exact: str = Field(min_length=40, max_length=40)
    email: str
    name: str = Field(min_length=60)
    upper: Annotated[str, StringConstraints(to_upper=True, min_length=3, max_length=3)]
    empty: str = Field(max_length=0)


class Patterns(BaseModel):
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    sku: str = Field(pattern=r"^(sku|part)-\d{4,}$", max_length=12)
    slug: str = Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")
    odd: str = Field(pattern=r"[^a-z]x?\w\s.")
    long: str = Field(pattern=r"^\d+$", min_length=60)


class Times(BaseModel):
    at: datetime
    aware: AwareDatetime
    day: date
    hour: time
    takes: timedelta


class Addresses(BaseModel):
    id: uuid.UUID
    v4: ipaddress.IPv4Address
    v6: ipaddress.IPv6Address
    net: ipaddress.IPv4Network
    either: IPvAnyAddress
    page: HttpUrl
    any: AnyUrl


class Oddities(BaseModel):
    raw: bytes
    encoded: Base64Bytes
    secret: SecretStr
    inner: Json[list[int]]
    path: Path
    folder: DirectoryPath
    pattern: Pattern[str]
    size: ByteSize
    anything: Any
    nothing: None
    flag: bool


class Choices(BaseModel):
    colour: Colour
    level: Literal["low", "high"]
    only: Literal[3]
    maybe: int | None
    mixed: int | str | list[bool]


class Defaults(BaseModel):
    a: int = 3
    b: str = "b"
    c: str | None = None
    d: list[Line] = []
    e: Line = Line(sku="x", quantity=1)
    f: Colour = Colour.RED
    g: dict[str, int] = Field(default_factory=dict)
    h: Decimal = Decimal("1.5")


class Arrays(BaseModel):
    lines: list[Line] = Field(min_length=3)
    pair: tuple[int, str]
    many: tuple[int, ...] = Field(min_length=2)
    none: list[int] = Field(max_length=0)
    numbers: set[int] = Field(min_length=5)
    colours: frozenset[Colour] = Field(min_length=2)
    nested: list[list[list[int]]]


class Maps(BaseModel):
    by_name: dict[str, int]
    by_number: dict[int, str]
    by_id: dict[uuid.UUID, Line] = Field(min_length=2)
    by_choice: dict[Literal["a", "b"], int]
    by_pattern: dict[Annotated[str, Field(pattern="^x-[0-9]+$")], int] = Field(min_length=2)
    of_maps: dict[str, dict[str, Line]]


class Node(BaseModel):
    value: int
    left: Node | None
    right: Node | None = None
    children: list[Node] = []
    by_name: dict[str, Node] = {}


class Ping(BaseModel):
    pong: Pong | None


class Pong(BaseModel):
    pings: list[Ping]
    other: Ping | Line


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: str
    count: int
    at: datetime
    price: float


class Aliased(BaseModel):
    order_id: str = Field(alias="orderId")
    total: float = Field(validation_alias="grandTotal")


class Example(BaseModel):
    vat: str = Field(pattern=r"^\p{Lu}{2}\d+$", examples=["DE123456789"])
    model_config = ConfigDict(json_schema_extra={"examples": [{"vat": "DE987654321"}]})


class Address(TypedDict):
    street: str
    number: int


class Typed(BaseModel):
    event_type: ClassVar[str] = "order.placed"
    where: Address
    amount: Decimal


T = TypeVar("T")


class Envelope(BaseModel, Generic[T]):
    content: T
    previous: list[T]


class Names(RootModel[list[str]]):
    pass


class Word(RootModel[str]):
    pass


class Maybe(RootModel[int | None]):
    pass


class Struct(msgspec.Struct):
    id: int
    by: bytes
    takes: timedelta
    price: Decimal
    unique: uuid.UUID
    few: Annotated[list[int], msgspec.Meta(min_length=2)]
    word: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]
    pair: tuple[int, str]
    other: int | None = None
    more: dict[str, int] = {}


class Tagged(msgspec.Struct, tag="see"):
    lines: set[int]


class Tree(msgspec.Struct):
    kids: list[Tree]
    up: Tree | None = None


SHAPES: list[Any] = [
    Line, Bounds, Decimals, Texts, Patterns, Times, Addresses, Oddities, Choices, Defaults, Arrays, Maps, Node, Ping,
    Pong, Cat, Owner, Extra, Strict, Aliased, Example, Typed, Envelope[int], Envelope[Line], Envelope[Envelope[Node]],
    Names, Word, Maybe, Struct, Tagged, Tree, Cat | Dog, Line | Struct | Tagged, Typed | Line | None,
    Ping | Node | Typed | Word,
    list[Line], list[Cat | Struct], dict, dict | None, str, bytes, list[str],
]  # fmt: skip


def made_for(annotation: Any) -> tuple[Handler, FunctionSpec]:
    def handle(payload: Any) -> None: ...

    handle.__annotations__["payload"] = annotation
    is_batch = getattr(annotation, "__origin__", None) is list
    declared = declaration_of(function("orders", **({"batch": Batch()} if is_batch else {}))(handle))
    assert declared is not None
    handler = read_signature(declared)
    return handler, spec_of(handler)


def fits(handler: Handler, sample: Sample) -> None:
    value = encode(sample.data).value
    assert value is not None, "a sample is no tombstone"
    payload = handler.payload.decode(sample.type, value)
    assert not isinstance(payload, Skip | Unfit), f"{sample.data} is refused: {payload}"


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
