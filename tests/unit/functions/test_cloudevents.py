"""CloudEvents on records: binary mode written and read, structured mode read, foreign records taken as they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from headrace.functions.cloudevents import UNTYPED, Envelope, Header, Malformed, read, write

JSON_MODE: Header = ("content-type", b"application/cloudevents+json; charset=UTF-8")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def envelope(*headers: Header, data: bytes | None = b"{}") -> Envelope:
    """The envelope of a record at orders/2/41 of cluster c-1."""
    return read(dict(headers), data, ("orders", 2, 41), "c-1")


def structured(**document: Any) -> Envelope:
    """The envelope of a structured-mode record."""
    event = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "Order", **document}
    return envelope(JSON_MODE, data=json.dumps(event).encode())


def test_what_is_written_carries_the_attributes_of_the_kafka_binding() -> None:
    headers = write(id="e-1", source="/shop/confirm", type="Order", content_type="application/json", time=NOON)
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e-1"),
        ("ce_source", b"/shop/confirm"),
        ("ce_type", b"Order"),
        ("ce_time", b"2026-03-01T12:00:00+00:00"),
        ("content-type", b"application/json"),
    ]


def test_required_attributes_are_never_left_out() -> None:
    written = dict(write(id="e-1", source="/shop", type=None, content_type=None))
    assert {"ce_id", "ce_source", "ce_specversion", "ce_type"} <= set(written)
    assert written["ce_type"] == UNTYPED.encode()
    assert "content-type" not in written


def test_what_is_written_is_read_back() -> None:
    event = envelope(*write(id="e-1", source="/shop", type="Order", content_type="application/json", time=NOON))
    assert (event.id, event.source, event.type, event.data) == ("e-1", "/shop", "Order", b"{}")
    assert event.time(0) == NOON
    assert (event.root, event.hops, event.subject) == ("e-1", 0, None)


def test_an_event_written_without_a_type_is_read_back_as_having_none() -> None:
    assert envelope(*write(id="e-1", source="/shop", type=None, content_type=None)).type is None


def test_attributes_that_are_not_text_survive_being_read_and_written_again() -> None:
    raw = b"caf\xe9"
    event = envelope(("ce_id", raw), ("ce_source", raw), ("ce_type", raw))
    again = dict(write(id=event.id, source=event.source, type=event.type, content_type=None))
    assert (again["ce_id"], again["ce_source"], again["ce_type"]) == (raw, raw, raw)


def test_a_plain_record_is_known_by_its_place() -> None:
    event = envelope(data=b"anything")
    assert (event.id, event.source, event.type, event.subject) == ("orders/2/41", "c-1", None, None)
    assert (event.root, event.hops, event.data) == ("orders/2/41", 0, b"anything")
    assert event.time(1_772_366_400_000) == NOON


def test_foreign_headers_with_binary_values_do_no_harm() -> None:
    event = envelope(("__TypeId__", b"\xff\xfe"), ("ce_extra", b"\x00\xff"), ("content-type", b"\xff"))
    assert event.id == "orders/2/41"
    assert event.attributes["__TypeId__"] == b"\xff\xfe"


def test_an_empty_id_is_none() -> None:
    assert envelope(("ce_id", b""), ("ce_source", b"")).id == "orders/2/41"
    assert envelope(("ce_id", b""), ("ce_source", b"")).source == "c-1"


def test_lineage_is_read_from_its_headers() -> None:
    event = envelope(("ce_id", b"e-9"), ("headrace-root", b"e-1"), ("headrace-hops", b"3"))
    assert (event.root, event.hops) == ("e-1", 3)


@pytest.mark.parametrize("hops", [b"", b"-1", b"many", b"9" * 10, b"1.5", b"\xff"])
def test_hops_that_are_no_number_are_none(hops: bytes) -> None:
    assert envelope(("headrace-hops", hops)).hops == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"2026-03-01T12:00:00Z", NOON),
        (b"2026-03-01T13:00:00+01:00", NOON),
        (b"2026-03-01T12:00:00.000Z", NOON),
        (b"2026-03-01T12:00:00", NOON),
        (b"last spring", datetime(1970, 1, 1, tzinfo=UTC)),
        (b"\xff", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_events_own_time_counts_if_it_can_be_read(text: bytes, moment: datetime) -> None:
    assert envelope(("ce_time", text)).time(0) == moment


@pytest.mark.parametrize(
    ("timestamp", "year"), [(-1, 1969), (1_772_366_400_000_000, 9999), (2**63 - 1, 9999), (-(2**63), 1)]
)
def test_a_records_time_beyond_any_calendar_is_cut_and_never_an_error(timestamp: int, year: int) -> None:
    assert envelope().time(timestamp).year == year


def test_a_time_is_written_with_its_zone() -> None:
    cet = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    naive = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001
    for moment in (cet, naive):
        assert envelope(*write(id="e", source="/s", type="T", content_type=None, time=moment)).time(0) == NOON


def test_structured_mode_is_read() -> None:
    event = structured(subject="o-1", time="2026-03-01T12:00:00Z", data={"id": "o-1"}, shop="north", retries=2)
    assert (event.id, event.source, event.type, event.subject) == ("e-1", "/shop", "Order", "o-1")
    assert event.time(0) == NOON
    assert event.data == b'{"id":"o-1"}'
    assert event.attributes["content-type"] == b"application/json"
    assert (event.attributes["ce_shop"], event.attributes["ce_retries"]) == (b"north", b"2")


def test_structured_binary_data_is_decoded() -> None:
    event = structured(data_base64="/wD/", datacontenttype="application/octet-stream")
    assert event.data == b"\xff\x00\xff"
    assert event.attributes["content-type"] == b"application/octet-stream"


@pytest.mark.parametrize(
    ("document", "data"),
    [
        ({"data": "text"}, b'"text"'),
        ({"data": "text", "datacontenttype": "application/vnd.shop+json"}, b'"text"'),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, b"<a/>"),
        ({"data": [1, None]}, b"[1,null]"),
        ({"data": 0}, b"0"),
        ({"data": None}, None),
        ({"data_base64": None}, None),
        ({}, None),
    ],
)
def test_structured_data_is_bytes_as_binary_mode_would_have_them(document: dict[str, Any], data: bytes | None) -> None:
    assert structured(**document).data == data


def test_structured_mode_is_told_whatever_the_case() -> None:
    event = b'{"specversion":"1.0","id":"e-1","source":"/shop","type":"Order"}'
    assert envelope(("content-type", b"Application/CloudEvents+JSON"), data=event).id == "e-1"


def test_foreign_headers_stay_beside_structured_attributes() -> None:
    event = read(dict([JSON_MODE, ("shop", b"\xff")]), b'{"specversion":"1.0","id":"e-1"}', ("p", 0, 0), "c")
    assert event.attributes["shop"] == b"\xff"
    assert event.id == "e-1"


def test_a_tombstone_is_no_malformed_event() -> None:
    assert envelope(JSON_MODE, data=None).data is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"{", "the value cannot be read"),
        (b"\xff\xff", "the value cannot be read"),
        (b"[]", "is no CloudEvents JSON object"),
        (b"{}", "is no CloudEvents JSON object"),
        (b"[" * 100_000, "the value cannot be read"),
        (b'{"specversion":"1.0","data_base64":"###"}', "the value cannot be read"),
        (b'{"specversion":"1.0","data_base64":"\xc3\xbc"}', "the value cannot be read"),
        (b'{"specversion":"1.0","data_base64":[1]}', "data_base64 is a JSON list, not text"),
    ],
)
def test_a_malformed_structured_event_is_told(value: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        envelope(JSON_MODE, data=value)


def test_half_a_surrogate_pair_in_structured_mode_is_kept_for_its_reader_to_refuse() -> None:
    event = envelope(
        JSON_MODE, data=b'{"specversion":"1.0","id":"\\ud800","data":"\\ud800","datacontenttype":"text/plain"}'
    )
    assert event.id.encode("utf-8", "surrogateescape") == event.data == b"\xed\xa0\x80"
