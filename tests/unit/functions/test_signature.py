"""A handler's signature: what it takes, whether it wants the context, and where what it returns goes."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pytest
from pydantic import BaseModel

from headrace import Batch, Context, DeclarationError, function
from headrace.functions.declare import declaration_of
from headrace.functions.signature import Handler, check_names, read_signature

if TYPE_CHECKING:
    from decimal import Decimal


class Order(BaseModel):
    id: str


class Mail(BaseModel):
    to: str


class Express(Mail):
    by: str


class Twin(BaseModel):
    event_type: ClassVar[str] = "Order"


def read(handler: Callable[..., Any], **options: Any) -> Handler:
    """The signature of a handler, declared with `options`."""
    declaration = declaration_of(function("orders", **options)(handler))
    assert declaration is not None
    return read_signature(declaration)


def refusal(handler: Callable[..., Any], **options: Any) -> str:
    """What is said of a wrong signature, without its place, which is checked here."""
    with pytest.raises(DeclarationError) as caught:
        read(handler, **options)
    place, _, message = str(caught.value).partition(": ")
    assert place == f"{Path(__file__)}:{handler.__code__.co_firstlineno}"
    return message


def test_a_handler_may_take_the_data_alone() -> None:
    def handle(order: Order) -> None: ...

    signature = read(handle)
    assert not signature.takes_context
    assert not signature.is_async
    assert signature.call is handle
    assert list(signature.payload.models) == ["Order"]


def test_a_handler_may_take_the_context_second() -> None:
    def plain(order: Order, ctx: Context) -> None: ...
    def typed(order: Order, ctx: Context[int]) -> None: ...
    def optional(order: Order, ctx: Context | None = None) -> None: ...
    def untyped(order: Order, ctx) -> None: ...  # type: ignore[no-untyped-def]

    assert all(read(handler).takes_context for handler in (plain, typed, optional, untyped))


def test_a_further_parameter_with_a_default_is_the_handlers_own_business() -> None:
    def second(order: Order, verbose: bool = False) -> None: ...
    def third(order: Order, ctx: Context, *, client: object = None) -> None: ...

    assert not read(second).takes_context
    assert read(third).takes_context


def test_an_async_handler_is_told_from_a_sync_one() -> None:
    async def handle(order: Order) -> None: ...

    assert read(handle).is_async


@pytest.mark.parametrize("annotation", [list[Order], Annotated[list[Order], "x"]])
def test_a_list_is_for_batches_and_batches_come_as_a_list(annotation: Any) -> None:
    def handle(orders: Any) -> None: ...

    handle.__annotations__["orders"] = annotation
    assert "a handler of list[…] takes batches; say how large: batch=Batch(size=100, wait=0.5)" in refusal(handle)
    assert read(handle, batch=Batch(size=5)).payload.batch
    handle.__annotations__["orders"] = Order
    assert "so the payload is a list of them: orders: list[…]" in refusal(handle, batch=Batch())


def test_a_batch_handler_returns_a_list_with_an_entry_for_each_event_or_nothing() -> None:
    def one(orders: list[Order]) -> Mail: ...  # type: ignore[empty-body]
    def some(orders: list[Order]) -> list[Mail | None] | None: ...
    def nothing(orders: list[Order]) -> None: ...
    def untold(orders: list[Order]) -> Any: ...

    said = refusal(one, emits={"mails": Mail}, batch=Batch())
    assert "one takes a batch and returns Mail; return a list with an entry for each event" in said
    for handler in (some, nothing, untold):
        assert read(handler, emits={"mails": Mail}, batch=Batch()).payload.batch


def test_a_handler_without_a_payload_parameter_is_refused() -> None:
    def nothing() -> None: ...
    def anything(*events: Order) -> None: ...
    def named(*, order: Order) -> None: ...

    for handler in (nothing, anything, named):
        assert "has no payload parameter" in refusal(handler)
        assert f"def {handler.__name__}(order: Order)" in refusal(handler)


def test_a_payload_without_a_type_is_refused() -> None:
    def handle(order) -> None: ...  # type: ignore[no-untyped-def]

    assert "the payload parameter 'order' needs a type, for example order: Order" in refusal(handle)


def test_a_third_required_parameter_is_refused() -> None:
    def positional(order: Order, ctx: Context, client: object) -> None: ...
    def by_name(order: Order, *, client: object) -> None: ...

    for handler in (positional, by_name):
        assert "takes the data and the context, no more; give 'client' a default" in refusal(handler)


def test_a_required_second_parameter_that_is_no_context_is_refused() -> None:
    def handle(order: Order, client: Mail) -> None: ...

    assert "the second parameter 'client' is the Context; write client: Context" in refusal(handle)


def test_an_annotation_that_is_not_there_at_run_time_is_refused_with_the_remedy() -> None:
    def hidden(price: Decimal) -> None: ...
    def misspelt(price: typing.Decimall) -> None: ...  # type: ignore[name-defined]

    assert "name 'Decimal' is not defined; what it names must be there when the module runs" in refusal(hidden)
    assert "has no attribute 'Decimall'" in refusal(misspelt)
    misspelt.__annotations__["price"] = "not python"
    assert "an annotation of misspelt cannot be resolved" in refusal(misspelt)


@pytest.mark.parametrize("annotation", [int, set[Order], None, Order | str, "tuple[Order]", Order | Twin, list[None]])
def test_a_payload_that_cannot_be_decoded_is_refused_with_what_can(annotation: Any) -> None:
    def handle(order: Any) -> None: ...

    handle.__annotations__["order"] = annotation
    message = refusal(handle)
    assert "cannot be decoded; it may be" in message or "type name 'Order'" in message or "None alone" in message


def test_a_returned_type_that_no_topic_takes_is_refused_at_load() -> None:
    def handle(order: Order) -> Mail: ...  # type: ignore[empty-body]

    assert 'handle returns Mail, but no topic takes it; add emits={"<topic>": Mail}' in refusal(handle)
    assert "no topic takes it" in refusal(handle, emits={"orders": Order})
    assert "no topic takes it" in refusal(handle, emits={"express": Express})


def test_every_member_of_what_is_returned_needs_a_topic() -> None:
    def handle(order: Order) -> list[Mail | Order] | None: ...

    assert "handle returns Order, but no topic" in refusal(handle, emits={"mails": Mail})
    assert read(handle, emits={"mails": Mail, "orders": [Order]}).routes.by_type == {Mail: "mails", Order: "orders"}


def test_a_subclass_goes_where_its_base_goes() -> None:
    def handle(order: Order) -> Express: ...  # type: ignore[empty-body]

    assert read(handle, emits={"mails": Mail}).routes.topic_of(Express(to="a", by="b")) == "mails"


def test_a_plain_topic_takes_one_returned_type_and_no_more() -> None:
    def one(order: Order) -> Mail | None: ...
    def two(order: Order) -> Mail | Order: ...  # type: ignore[empty-body]

    assert read(one, emits="mails").routes.fallback == "mails"
    assert "emits='mails' takes one type, but Mail, Order are returned" in refusal(two, emits="mails")
    assert "emits={'mails': [Mail, Order]}" in refusal(two, emits="mails")


def test_one_type_cannot_go_to_two_topics() -> None:
    def handle(order: Order) -> None: ...

    assert "Mail goes to 'a' and to 'b'; a returned value goes to one topic" in refusal(
        handle, emits={"a": Mail, "b": [Mail]}
    )


@pytest.mark.parametrize("returns", [None, Any, object, typing.NoReturn, typing.Never])
def test_a_return_type_that_says_nothing_needs_no_topic(returns: Any) -> None:
    def handle(order: Order) -> Any: ...

    handle.__annotations__["return"] = returns
    assert read(handle).routes.topics == ()
    del handle.__annotations__["return"]
    assert read(handle).routes.topics == ()


def test_two_functions_of_one_name_are_refused_with_both_places() -> None:
    def a(order: Order) -> None: ...
    def b(order: Order) -> None: ...

    first, second = read(a, name="confirm").declaration, read(b, name="confirm").declaration
    with pytest.raises(DeclarationError) as caught:
        check_names({"confirm": [first, second]})
    assert first.place in str(caught.value)
    assert second.place in str(caught.value)
    assert "two functions are named 'confirm'" in str(caught.value)
    check_names({"a": [first], "b": [second]})
