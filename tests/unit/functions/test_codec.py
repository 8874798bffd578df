"""Data, keys and headers to bytes, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from pydantic import BaseModel, Field

from headrace import EmitRefused
from headrace.functions.codec import (
    MAX_EVENT_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    Encoded,
    encode,
    encode_headers,
    encode_key,
    is_struct,
    type_name,
)


class Order(BaseModel):
    id: str
    placed: datetime | None = Field(default=None, alias="placedAt")


class Refund(BaseModel):
    event_type: ClassVar[str] = "order.refunded"


class Labelled(BaseModel):
    event_type: str = "a field of the data, no name of the type"


class Ping(msgspec.Struct):
    at: int


class Opaque(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    thing: object


class Wrapped(msgspec.Struct):
    thing: object


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (Refund(), Encoded(b"{}", "order.refunded", "application/json")),
        (Ping(3), Encoded(b'{"at":3}', "Ping", "application/json")),
        ({"a": [1, None, "ü"]}, Encoded('{"a":[1,null,"ü"]}'.encode(), None, "application/json")),
        ([1.5], Encoded(b"[1.5]", None, "application/json")),
        (0, Encoded(b"0", None, "application/json")),
        ("ü", Encoded("ü".encode(), None, "text/plain; charset=utf-8")),
        ("\udcff", Encoded(b"\xff", None, "text/plain; charset=utf-8")),
        (b"\xff", Encoded(b"\xff", None, "application/octet-stream")),
        (b"", Encoded(b"", None, "application/octet-stream")),
        (None, Encoded(None, None, None)),
    ],
)
def test_data_is_encoded_by_what_it_is(data: object, encoded: Encoded) -> None:
    assert encode(data) == encoded


def test_a_model_is_written_by_its_aliases() -> None:
    order = Order(id="o-1", placedAt=datetime(2026, 3, 1, tzinfo=UTC))
    assert encode(order).value == b'{"id":"o-1","placedAt":"2026-03-01T00:00:00Z"}'


@pytest.mark.parametrize(
    "data",
    [
        object(),
        {"a": object()},
        {"a": float("nan")},
        Opaque(thing=object()),
        Wrapped(object()),
        bytearray(b"x"),
        {1, 2},
    ],
)
def test_what_cannot_be_written_as_json_is_refused(data: object) -> None:
    with pytest.raises(EmitRefused, match=f"{type(data).__qualname__} cannot be written as JSON: ") as caught:
        encode(data)
    assert caught.value.__cause__ is not None


def test_data_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EmitRefused, match="list cannot be written as JSON"):
        encode(loop)


@pytest.mark.parametrize("data", ["\ud800", {"a": "\ud800"}])
def test_text_that_utf_8_cannot_write_is_refused(data: object) -> None:
    with pytest.raises(EmitRefused):
        encode(data)


def test_an_event_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert encode(b"x" * MAX_EVENT_BYTES).value == b"x" * MAX_EVENT_BYTES
    with pytest.raises(EmitRefused, match=r"bytes is 1,048,577 bytes, over the limit of 1,048,576: keep large content"):
        encode(b"x" * (MAX_EVENT_BYTES + 1))
    with pytest.raises(EmitRefused, match=r"Order is .* over the limit"):
        encode(Order(id="x" * MAX_EVENT_BYTES))


def test_a_types_name_is_its_class_unless_it_says_otherwise() -> None:
    assert type_name(Order) == "Order"
    assert type_name(Refund) == "order.refunded"
    assert type_name(Labelled) == "Labelled"
    assert type_name(Ping) == "Ping"


def test_a_struct_is_told_by_its_class() -> None:
    assert is_struct(Ping)
    assert not any(map(is_struct, (Order, dict, Ping(1), None)))


def test_a_key_is_text_bytes_or_none() -> None:
    assert encode_key("ü") == "ü".encode()
    assert encode_key(b"\xff") == b"\xff"
    assert encode_key(b"\xff".decode("utf-8", "surrogateescape")) == b"\xff"
    assert encode_key("") == b""
    assert encode_key(None) is None
    with pytest.raises(EmitRefused, match=r"key=7 is int: a key is text, bytes or None; convert it"):
        encode_key(7)  # type: ignore[arg-type]
    with pytest.raises(EmitRefused, match="key is not text that UTF-8 can write"):
        encode_key("\ud800")


def test_headers_keep_order_and_duplicates() -> None:
    assert encode_headers([("b", "ü"), ("a", b"\xff"), ("b", "2")]) == [
        ("b", "ü".encode()),
        ("a", b"\xff"),
        ("b", b"2"),
    ]
    assert encode_headers({"b": "1", "a": b""}) == [("b", b"1"), ("a", b"")]
    assert encode_headers(None) == encode_headers({}) == []


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"headrace-hops": "0"}, "names that begin with 'headrace-' are written by headrace itself"),
        ({"ce_id": "mine"}, "header 'ce_id' is the event's identity"),
        ({"ce_type": "mine"}, "for its type use type="),
        ({"": "x"}, "header name '' is not text"),
        ({1: "x"}, "header name 1 is not text"),
        ({"a": 1}, "header 'a' is int: a header value is text or bytes"),
        ({"a": "\ud800"}, "header 'a' is not text that UTF-8 can write"),
        ({"\ud800": "a"}, "is not text that UTF-8 can write"),
        ({"\udcff": "a"}, r"header name '.udcff' is not text that UTF-8 can write"),
    ],
)
def test_headers_that_cannot_be_or_are_not_the_users_are_refused(headers: Any, problem: str) -> None:
    with pytest.raises(EmitRefused, match=problem):
        encode_headers(headers)


def test_headers_may_fill_their_limits_and_no_more() -> None:
    many = [("h", b"")] * MAX_HEADERS
    assert len(encode_headers(many)) == MAX_HEADERS
    with pytest.raises(EmitRefused, match=r"1,001 headers of .* an event may have 1,000 of 65,536 bytes"):
        encode_headers([*many, ("h", b"")])
    large = ("h", b"x" * (MAX_HEADER_BYTES - 1))
    assert encode_headers([large]) == [large]
    with pytest.raises(EmitRefused, match=r"1 headers of 65,537 bytes"):
        encode_headers([("ü", large[1])])
