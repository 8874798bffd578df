"""What a handler emits: routed, numbered, keyed, and linked to its cause."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from headrace import INHERIT, EmitRefused
from headrace.functions.cloudevents import Header, read
from headrace.functions.emits import Cause, Outbox, Routes, routes_of
from headrace.functions.identity import derived_id


class Mail(BaseModel):
    to: str


class Express(Mail):
    by: str = "air"


class Seen(BaseModel):
    id: str


def outbox(*headers: Header, key: bytes | None = b"k-1", routes: Routes | None = None) -> Outbox:
    """The outbox of shop.confirm, handling event e-1 of /web."""
    envelope = read(dict([("ce_id", b"e-1"), ("ce_source", b"/web"), *headers]), b"{}", ("orders", 0, 7), "c-1")
    return Outbox("shop", "confirm", routes or routes_of({"mails": Mail, "audit": [Seen]}), Cause(envelope, key))


def headers_of(box: Outbox, nth: int = 0) -> dict[str, bytes]:
    """The headers of the n-th emit."""
    return dict(box.emits[nth].headers)


def test_an_emit_is_a_cloudevent_of_the_function() -> None:
    box = outbox()
    box.emit("mails", Mail(to="a"))
    (emit,) = box.emits
    assert (emit.topic, emit.value, emit.type) == ("mails", b'{"to":"a"}', "Mail")
    headers = headers_of(box)
    assert headers["ce_id"] == emit.id.encode()
    assert headers["ce_source"] == b"/shop/confirm"
    assert headers["ce_type"] == b"Mail"
    assert headers["content-type"] == b"application/json"


def test_ids_are_those_of_the_rule_and_count_each_topic_by_itself() -> None:
    box = outbox()
    for topic in ("mails", "audit", "mails"):
        box.emit(topic, {})
    expected = [
        derived_id(source="/web", cause="e-1", app="shop", function="confirm", topic=topic, nth=nth)
        for topic, nth in (("mails", 0), ("audit", 0), ("mails", 1))
    ]
    assert [emit.id for emit in box.emits] == expected
    assert len(set(expected)) == 3


def test_handling_the_event_again_emits_the_same_ids_whatever_the_data() -> None:
    first, second = outbox(), outbox()
    first.emit("mails", Mail(to="a"))
    second.emit("mails", Mail(to="b"))
    assert first.emits[0].id == second.emits[0].id


def test_a_cause_without_an_id_is_named_by_its_place() -> None:
    envelope = read({}, b"{}", ("orders", 0, 7), "c-1")
    box = Outbox("shop", "confirm", routes_of("mails"), Cause(envelope, None))
    box.emit("mails", {})
    assert box.emits[0].id == derived_id(
        source="c-1", cause="orders/0/7", app="shop", function="confirm", topic="mails", nth=0
    )
    assert headers_of(box)["headrace-cause"] == b"orders/0/7"


def test_a_refused_emit_that_the_handler_survives_takes_no_number() -> None:
    box, other = outbox(), outbox()
    for wrong in ({"key": 7}, {"headers": {"headrace-hops": "0"}}):
        with pytest.raises(EmitRefused):
            box.emit("mails", {}, **wrong)  # type: ignore[arg-type]
    with pytest.raises(EmitRefused):
        box.emit("mails", object())
    box.emit("mails", {})
    other.emit("mails", {})
    assert [emit.id for emit in box.emits] == [emit.id for emit in other.emits]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, b"\xffk"),
        ({"key": INHERIT}, b"\xffk"),
        ({"key": None}, None),
        ({"key": "ü"}, "ü".encode()),
        ({"key": b""}, b""),
    ],
)
def test_the_key_is_the_causes_unless_said_otherwise(options: dict[str, Any], key: bytes | None) -> None:
    box = outbox(key=b"\xffk")
    box.emit("mails", {}, **options)
    assert box.emits[0].key == key


def test_lineage_begins_at_an_event_without_a_cause() -> None:
    box = outbox()
    box.emit("mails", {})
    headers = headers_of(box)
    assert (headers["headrace-cause"], headers["headrace-root"], headers["headrace-hops"]) == (b"e-1", b"e-1", b"1")


def test_lineage_goes_on_from_the_cause() -> None:
    box = outbox(("headrace-cause", b"e-0"), ("headrace-root", b"root"), ("headrace-hops", b"4"))
    box.emit("mails", {})
    headers = headers_of(box)
    assert (headers["headrace-cause"], headers["headrace-root"], headers["headrace-hops"]) == (b"e-1", b"root", b"5")


def test_trace_context_passes_through_and_nothing_else_does() -> None:
    box = outbox(("traceparent", b"00-aa-bb-01"), ("tracestate", b"v=\xff"), ("shop", b"north"), ("ce_subject", b"s"))
    box.emit("mails", {}, headers={"mine": "1"})
    headers = headers_of(box)
    assert (headers["traceparent"], headers["tracestate"], headers["mine"]) == (b"00-aa-bb-01", b"v=\xff", b"1")
    assert "shop" not in headers
    assert "ce_subject" not in headers


def test_the_type_may_be_given() -> None:
    box = outbox()
    box.emit("mails", {}, type="mail.sent")
    box.emit("mails", Mail(to="a"), type="mail.sent")
    assert [emit.type for emit in box.emits] == ["mail.sent", "mail.sent"]
    assert headers_of(box)["ce_type"] == b"mail.sent"


def test_an_event_without_a_type_is_marked_as_such() -> None:
    box = outbox()
    box.emit("mails", {})
    assert box.emits[0].type is None
    assert headers_of(box)["ce_type"] == b"headrace.untyped"


def test_none_is_emitted_as_a_tombstone() -> None:
    box = outbox()
    box.emit("mails", None)
    assert box.emits[0].value is None
    assert "content-type" not in headers_of(box)


def test_an_undeclared_topic_is_refused_with_those_that_are_declared() -> None:
    with pytest.raises(EmitRefused, match=r"topic 'lost' is not declared; confirm may emit to: 'mails', 'audit'"):
        outbox().emit("lost", {})
    with pytest.raises(EmitRefused, match=r"confirm may emit to: none. Add it to emits="):
        outbox(routes=routes_of(None)).emit("mails", {})


def test_what_is_emitted_does_not_change_with_the_data_later() -> None:
    box, data = outbox(), {"a": 1}
    box.emit("mails", data)
    data["a"] = 2
    assert box.emits[0].value == b'{"a":1}'


def test_returned_values_are_routed_by_their_types() -> None:
    box = outbox()
    box.returned([Mail(to="a"), None, Seen(id="s"), Express(to="b")])
    assert [(emit.topic, emit.type) for emit in box.emits] == [
        ("mails", "Mail"),
        ("audit", "Seen"),
        ("mails", "Express"),
    ]


def test_the_nearest_type_wins() -> None:
    routes = routes_of({"any": object, "express": Express, "mails": Mail})
    assert [routes.topic_of(value) for value in (Express(to="a"), Mail(to="a"), 5)] == ["express", "mails", "any"]


def test_returning_nothing_emits_nothing() -> None:
    box = outbox()
    box.returned(None)
    box.returned([])
    assert box.emits == []


def test_a_returned_value_that_no_topic_takes_is_refused() -> None:
    with pytest.raises(
        EmitRefused, match=r'returned a dict, but no topic in emits takes it; .*emits=\{"topic": dict\}'
    ):
        outbox().returned({"a": 1})


def test_a_plain_topic_takes_whatever_is_returned() -> None:
    box = outbox(routes=routes_of("mails"))
    box.returned({"a": 1})
    box.returned(["text", b"bytes"])
    assert [emit.topic for emit in box.emits] == ["mails"] * 3


def test_a_type_may_be_named_twice_for_one_topic_but_not_for_two() -> None:
    assert routes_of({"mails": [Mail, Mail]}).by_type == {Mail: "mails"}
    with pytest.raises(ValueError, match="Mail goes to 'a' and to 'b'"):
        routes_of({"a": Mail, "b": Mail})
