"""Rule R6: from a record's bytes and type to the payload, a skip, or a rejection."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypeAliasType

from headrace.functions.payload import BadAnnotation, Skip, Unfit, members_of, payload_of


class Order(BaseModel):
    id: str
    total: float = 0.0


class Refund(BaseModel):
    event_type: ClassVar[str] = "order.refunded"
    order_id: str


class Ping(msgspec.Struct):
    at: int


class Pong(msgspec.Struct):
    event_type: ClassVar[str] = "pong.v2"
    back: int


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


def message_of(result: Any) -> str:
    """The message of what must be unfit."""
    assert isinstance(result, Unfit)
    return result.message


def test_a_matching_type_is_validated() -> None:
    payload = payload_of(Order | Refund)
    assert payload.decode("Order", b'{"id":"o-1"}') == Order(id="o-1")
    assert payload.decode("order.refunded", b'{"order_id":"o-1"}') == Refund(order_id="o-1")


def test_a_matching_type_with_a_wrong_schema_is_unfit_even_if_another_model_would_fit() -> None:
    assert message_of(payload_of(Order | Refund).decode("Order", b'{"order_id":"o-1"}')) == "id: Field required"


def test_another_type_is_skipped_and_names_itself() -> None:
    assert payload_of(Order).decode("OrderLost", b"not even JSON") == Skip("type", "OrderLost")


def test_the_class_name_is_no_type_name_where_event_type_says_otherwise() -> None:
    assert payload_of(Refund).decode("Refund", b'{"order_id":"o-1"}') == Skip("type", "Refund")


def test_another_type_is_unfit_where_unmatched_says_reject() -> None:
    payload = payload_of(Order | Refund, reject_unmatched=True)
    message = message_of(payload.decode("OrderLost", b"{}"))
    assert message == "type 'OrderLost' is none of Order, order.refunded, and unmatched=\"reject\""
    assert payload.decode("Order", b'{"id":"o-1"}') == Order(id="o-1")
    assert payload.decode(None, b'{"id":"o-1"}') == Order(id="o-1")


def test_an_untyped_event_is_the_one_model() -> None:
    assert payload_of(Order).decode(None, b'{"id":"o-1","total":2}') == Order(id="o-1", total=2)
    assert message_of(payload_of(Order).decode(None, b'{"total":2}')) == "id: Field required"


def test_an_untyped_event_is_the_model_of_a_union_that_fits_best() -> None:
    payload = payload_of(Order | Refund)
    assert payload.decode(None, b'{"order_id":"o-1"}') == Refund(order_id="o-1")
    assert payload.decode(None, b'{"id":"o-1"}') == Order(id="o-1")
    assert "Order.id: Field required; Refund.order_id: Field required" in message_of(payload.decode(None, b"{}"))


def test_a_discriminated_union_is_a_union() -> None:
    payload = payload_of(Annotated[Cat | Dog, Field(discriminator="kind")])
    assert payload.decode(None, b'{"kind":"dog","name":"Rex"}') == Dog(kind="dog", name="Rex")
    assert payload.decode("Cat", b'{"kind":"cat","name":"Tom"}') == Cat(kind="cat", name="Tom")


def test_a_named_alias_is_what_it_names() -> None:
    payload = payload_of(TypeAliasType("Animal", Annotated[Cat, "x"] | Dog | None))
    assert sorted(payload.models) == ["Cat", "Dog"]
    assert payload.nullable


def test_structs_are_decoded_by_msgspec() -> None:
    payload = payload_of(Ping | Pong)
    assert payload.decode("Ping", b'{"at":1}') == Ping(1)
    assert payload.decode("pong.v2", b'{"back":2}') == Pong(2)
    assert payload.decode(None, b'{"back":2}') == Pong(2)
    assert "missing required field `at`" in message_of(payload.decode("Ping", b"{}"))
    assert "`at` / " in message_of(payload.decode(None, b"{}"))


def test_structs_and_models_share_a_union_and_the_first_that_fits_is_taken() -> None:
    payload = payload_of(Order | Ping)
    assert payload.decode(None, b'{"at":1}') == Ping(1)
    assert payload.decode(None, b'{"id":"o-1"}') == Order(id="o-1")
    assert "id: Field required / " in message_of(payload.decode(None, b"{}"))


@pytest.mark.parametrize("type_name", [None, "Order", "anything"])
def test_dict_str_and_bytes_take_any_type(type_name: str | None) -> None:
    assert payload_of(dict).decode(type_name, b'{"a":[1]}') == {"a": [1]}
    assert payload_of(dict[str, Any]).decode(type_name, b"{}") == {}
    assert payload_of(str).decode(type_name, "für".encode()) == "für"
    assert payload_of(bytes).decode(type_name, b"\xff\x00") == b"\xff\x00"


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (dict, b"[1]", "the data is a JSON list, not an object"),
        (dict, b"{", "Expecting property name"),
        (dict, b"\xff\x01garbage", "codec can't decode"),
        (dict, b"", "Expecting value"),
        (dict, b"[" * 100_000, "while decoding a JSON array"),
        (str, b"\xff", "codec can't decode"),
        (Order, b"{", "Invalid JSON"),
        (Order, b"\xff\x01garbage", "Invalid JSON"),
        (Order, b"", "Invalid JSON"),
        (Order, b"[]", "Input should be an object"),
        (Ping, b"\xff\x01garbage", "malformed"),
    ],
)
def test_what_cannot_be_decoded_is_unfit(annotation: Any, value: bytes, problem: str) -> None:
    assert problem in message_of(payload_of(annotation).decode(None, value))


@pytest.mark.parametrize("annotation", [Order, Order | Refund, Ping, dict, str, bytes])
def test_a_null_value_is_skipped_unless_the_annotation_allows_none(annotation: Any) -> None:
    assert payload_of(annotation).decode("Order", None) == Skip("null")
    assert payload_of(annotation | None).decode("Order", None) is None
    assert payload_of(annotation | None, reject_unmatched=True).decode("Lost", None) is None


def test_an_empty_value_is_no_null() -> None:
    assert payload_of(str).decode(None, b"") == ""
    assert payload_of(bytes | None).decode(None, b"") == b""


def test_an_error_never_repeats_the_data() -> None:
    class Card(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def long_enough(cls, number: int) -> int:
            raise ValueError("too short")

    assert message_of(payload_of(Card).decode(None, b'{"number":4111}')) == "number: too short"
    assert "secret" not in message_of(payload_of(Card).decode(None, b'{"number":"secret"}'))


def test_two_models_of_one_type_name_are_refused() -> None:
    other = type("Order", (BaseModel,), {})
    with pytest.raises(BadAnnotation, match=r"type name .Order.; tell them apart with event_type: ClassVar\[str\]"):
        payload_of(Order | other)


def test_a_type_name_that_no_header_can_hold_is_refused() -> None:
    odd = type("Odd", (BaseModel,), {"event_type": "\ud800", "__annotations__": {"event_type": ClassVar[str]}})
    with pytest.raises(BadAnnotation, match=r"event_type='.ud800' is not text that UTF-8 can write"):
        payload_of(odd)


@pytest.mark.parametrize("annotation", [int, Any, list, set[str], Order | str, dict | str, None, list[None], 5])
def test_an_annotation_that_is_no_payload_is_refused(annotation: Any) -> None:
    with pytest.raises(BadAnnotation):
        payload_of(annotation)


def test_a_list_is_a_batch_of_what_is_in_it() -> None:
    payload = payload_of(list[Order | Refund])
    assert payload.batch
    assert sorted(payload.models) == ["Order", "order.refunded"]


def test_the_schema_is_that_of_the_payload() -> None:
    order, union = payload_of(Order).schema(), payload_of(Order | Refund | None).schema()
    assert order is not None
    assert order["required"] == ["id"]
    assert union is not None
    assert set(union["$defs"]) == {"Order", "Refund"}
    assert payload_of(str).schema() is None
    assert payload_of(bytes | None).schema() is None
    assert payload_of(dict).schema() == {"additionalProperties": True, "type": "object"}
    assert payload_of(Ping).schema() is not None


def test_structs_have_a_schema_also_beside_models() -> None:
    schema = payload_of(Order | Ping | Pong).schema()
    assert schema is not None
    assert {tuple(member.items()) for member in schema["anyOf"]} == {
        (("$ref", f"#/$defs/{name}"), ("title", title))
        for name, title in (("Order", "Order"), ("Ping", "Ping"), ("Pong", "pong.v2"))
    }
    assert schema["$defs"]["Ping"]["required"] == ["at"]
    assert schema["$defs"]["Order"]["required"] == ["id"]


def test_each_branch_of_a_union_has_the_name_of_its_type() -> None:
    class Sent(BaseModel):
        event_type: ClassVar[str] = "mail.sent"
        id: str

    schema = payload_of(Order | Sent).schema()
    assert schema is not None
    assert {member["$ref"]: member["title"] for member in schema["anyOf"]} == {
        "#/$defs/Order": "Order",
        "#/$defs/Sent": "mail.sent",
    }


def test_the_members_of_a_union_leave_none_out() -> None:
    assert members_of(Order | None) == [Order]
    assert members_of(Order) == [Order]
    assert members_of(None) == []
