"""Rule R6, row by row, through the command line: what becomes of each kind of input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Shell

FUNCTIONS = """
from pydantic import BaseModel
from headrace import Context, EmitRefused, function

class OrderPlaced(BaseModel):
    order_id: str
    total: float

class OrderLost(BaseModel):
    order_id: str

class Seen(BaseModel):
    by: str
    what: str

def say(ctx: Context, what: object) -> Seen:
    return Seen(by="x", what=repr(what))

@function("orders", emits={"seen": Seen})
def one(order: OrderPlaced, ctx: Context) -> Seen:
    return say(ctx, order)

@function("strict", emits={"seen": Seen}, unmatched="reject")
def strict(order: OrderPlaced, ctx: Context) -> Seen:
    return say(ctx, order)

@function("either", emits={"seen": Seen})
def either(order: OrderPlaced | OrderLost | None, ctx: Context) -> Seen:
    return say(ctx, order)

@function("objects", emits={"seen": Seen})
def as_dict(order: dict, ctx: Context) -> Seen:
    return say(ctx, order)

@function("texts", emits={"seen": Seen})
def as_text(text: str, ctx: Context) -> Seen:
    return say(ctx, text)

@function("blobs", emits={"seen": Seen})
def as_bytes(blob: bytes, ctx: Context) -> Seen:
    header = ctx.event.headers[-1] if ctx.event.headers else None
    return say(ctx, (blob, ctx.event.key, header))

@function("filtered", emits={"seen": Seen}, where=lambda order, event: order.total > 10)
def filtered(order: OrderPlaced, ctx: Context) -> Seen:
    return say(ctx, order)

@function("picky", emits={"seen": Seen}, where=lambda order, event: 1 / 0)
def picky(order: OrderPlaced, ctx: Context) -> Seen:
    return say(ctx, order)
"""

GOOD = '{"order_id": "1", "total": 20}'


class Shop:
    """One folder with all the functions."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        shell.write("functions.py", FUNCTIONS)

    def outcome(
        self, topic: str, function: str, *emits: tuple[str, ...]
    ) -> tuple[list[str], list[dict[str, Any]], str]:
        """Emit, run until idle: what was seen by the handler, the dead letters, and the log."""
        for arguments in emits:
            self.shell.run("emit", topic, *arguments)
        log = self.shell.run("run", "--until-idle").stderr
        seen = [event["data"]["what"] for event in self.shell.tail("seen")]
        return seen, self.shell.tail(f"shop.{function}.dlt"), log


@pytest.fixture
def shop(shell: Shell) -> Shop:
    return Shop(shell)


def error_of(letter: dict[str, Any]) -> tuple[str, str]:
    return letter["headers"]["headrace-error-type"], letter["headers"]["headrace-error-message"]


def test_typed_and_untyped_events_of_one_model_are_handled_and_other_types_skipped(shop: Shop) -> None:
    seen, letters, log = shop.outcome(
        "orders", "one", (GOOD,), ("--type", "OrderPlaced", GOOD), ("--type", "Other", GOOD), ("--type", "Other", "1")
    )
    assert len(seen) == 2
    assert letters == []
    assert log.count("skipping events of another type") == 1, "one warning per type"


def test_broken_json_and_a_wrong_schema_are_rejected_without_a_retry(shop: Shop) -> None:
    seen, letters, _ = shop.outcome(
        "orders", "one", ("--raw", "{broken"), ("--type", "OrderPlaced", '{"order_id": 1}'), ('{"total": 1}',)
    )
    assert seen == []
    assert {error_of(letter)[0] for letter in letters} == {"Rejected"}
    assert {letter["headers"]["headrace-attempt"] for letter in letters} == {"1"}
    assert any("order_id" in error_of(letter)[1] for letter in letters)
    assert "{broken" in [letter["data"] for letter in letters], "the value is kept as it came"


def test_an_unmatched_type_is_rejected_where_the_function_says_so(shop: Shop) -> None:
    seen, letters, _ = shop.outcome("strict", "strict", ("--type", "Other", GOOD), ("--type", "OrderPlaced", GOOD))
    assert len(seen) == 1
    assert len(letters) == 1
    assert "Other" in error_of(letters[0])[1]


def test_a_null_value_is_skipped_unless_the_annotation_allows_none(shop: Shop) -> None:
    seen, letters, _ = shop.outcome("orders", "one", ("--null",))
    assert (seen, letters) == ([], [])
    seen, letters, _ = shop.outcome("either", "either", ("--null",))
    assert (seen, letters) == (["None"], [])


def test_an_untyped_event_of_a_union_goes_to_the_model_it_fits(shop: Shop) -> None:
    seen, letters, _ = shop.outcome("either", "either", (GOOD,), ('{"order_id": "2"}',), ('{"nothing": 1}',))
    assert sorted(what.split("(")[0] for what in seen) == ["OrderLost", "OrderPlaced"]
    assert len(letters) == 1


def test_dict_and_str_take_any_type_and_reject_what_they_cannot_read(shop: Shop) -> None:
    seen, letters, _ = shop.outcome("objects", "as_dict", ("--type", "Any", '{"a": 1}'), ("[1]",), ("--raw", "{"))
    assert seen == ["{'a': 1}"]
    assert len(letters) == 2
    seen, _, _ = shop.outcome("texts", "as_text", ("--raw", "grüß"), ("--type", "T", '"json"'))
    assert "'grüß'" in seen
    assert "'\"json\"'" in seen


def test_where_skips_what_it_says_no_to_and_its_error_is_a_failed_attempt(shop: Shop) -> None:
    seen, letters, _ = shop.outcome("filtered", "filtered", (GOOD,), ('{"order_id": "2", "total": 1}',))
    assert len(seen) == 1
    assert letters == []
    shop.shell.run("emit", "picky", GOOD)
    log = shop.shell.run("run", "--until-idle").stderr
    assert error_of(shop.shell.tail("shop.picky.dlt")[0])[0] == "ZeroDivisionError"
    assert log.count("failed") >= 2, "it was tried again"


@pytest.mark.parametrize(("topic", "function"), [("objects", "as_dict"), ("texts", "as_text"), ("orders", "one")])
async def test_binary_garbage_is_rejected_byte_for_byte(shop: Shop, topic: str, function: str) -> None:
    from headrace import connect

    garbage = bytes(range(256))
    async with connect(f"sqlite:{shop.shell.folder}/.headrace/log.db") as log:
        await log.emit(topic, garbage)
    seen, letters, _ = shop.outcome(topic, function)
    assert seen == []
    assert len(letters) == 1
    assert letters[0]["data"] == {"base64": __import__("base64").b64encode(garbage).decode()}


async def test_binary_data_keys_and_header_values_survive_byte_for_byte_to_a_bytes_handler(shop: Shop) -> None:
    from headrace import connect

    async with connect(f"sqlite:{shop.shell.folder}/.headrace/log.db") as log:
        await log.emit("blobs", b"\x00\xff", key=b"\xfe", headers=[("h", b"\xff\x00")])
    seen, letters, _ = shop.outcome("blobs", "as_bytes")
    assert seen == [repr((b"\x00\xff", b"\xfe".decode("utf-8", "surrogateescape"), ("h", b"\xff\x00")))]
    assert letters == []


def test_events_without_a_key_are_lanes_of_their_own(shop: Shop) -> None:
    seen, _, _ = shop.outcome("orders", "one", (GOOD,), (GOOD,))
    assert len(seen) == 2


def test_an_event_over_the_size_limit_is_refused_at_emit_and_nothing_is_written(shop: Shop) -> None:
    shop.shell.run("emit", "orders", GOOD)
    large = json.dumps({"order_id": "x" * (1 << 20), "total": 1})
    refused = shop.shell.run("emit", "orders", "-", stdin=large + "\n", code=1)
    assert "1,048,576" in refused.stderr
    assert len(shop.shell.tail("orders")) == 1


def test_too_many_headers_are_refused_at_emit(shop: Shop) -> None:
    headers = [argument for n in range(1001) for argument in ("--header", f"h{n}=1")]
    refused = shop.shell.run("emit", "orders", GOOD, *headers, code=1)
    assert "1,001 headers" in refused.stderr


def test_a_function_whose_first_hundred_events_were_all_of_other_types_says_so_loudly(shop: Shop) -> None:
    shop.shell.run("emit", "orders", "-", "--type", "Other", stdin="{}\n" * 101)
    log = shop.shell.run("run", "--until-idle").stderr
    assert "the first 100 events were all of other types" in log
    assert log.count("skipping events of another type") == 1
