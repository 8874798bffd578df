"""Payloads of every shape that a function may ask for."""

from __future__ import annotations

import enum
import ipaddress
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from re import Pattern
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
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
)
from typing_extensions import TypedDict


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
