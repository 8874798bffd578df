"""Dead letters keep the record and say what went wrong."""

from __future__ import annotations

from headrace.functions.codec import MAX_HEADERS
from headrace.runtime.deadletter import Sender, dead_letter, fits, without_redrives
from headrace.runtime.ports import Append, Record
from headrace.sandbox.headers import pack, unpack
from headrace.sandbox.outcome import Failure
from headrace.sandbox.wire import Origin

SENDER = Sender("confirm", "shop.confirm.dlt", 4, "c0de")
FAILURE = Failure("shop.MailError", "no such box", "File …", "f1")


def letter_of(headers: list[tuple[str, bytes]], key: bytes | None = b"k", value: bytes | None = b"v") -> object:
    record = Record(42, 1700000000000, key, value, pack(headers))
    return dead_letter(record, Origin("orders", 6, 42), FAILURE, attempts=3, sender=SENDER, now_ms=1700000001000)


def headers_of(headers: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return unpack(letter_of(headers).headers)  # type: ignore[attr-defined]


def test_it_goes_to_the_dead_letter_topic_with_key_value_and_partition_number_kept() -> None:
    letter = letter_of([], key=b"\xff", value=None)
    assert (letter.topic, letter.partition, letter.key, letter.value) == ("shop.confirm.dlt", 2, b"\xff", None)  # type: ignore[attr-defined]


def test_it_says_where_it_came_from_and_what_went_wrong() -> None:
    headers = dict(headers_of([]))
    assert headers == {
        "headrace-origin-topic": b"orders",
        "headrace-origin-partition": b"6",
        "headrace-origin-offset": b"42",
        "headrace-origin-timestamp": b"1700000000000",
        "headrace-function": b"confirm",
        "headrace-code": b"c0de",
        "headrace-attempt": b"3",
        "headrace-error-type": b"shop.MailError",
        "headrace-error-message": b"no such box",
        "headrace-error-stack": "File …".encode(),
        "headrace-fingerprint": b"f1",
        "headrace-failed-at": b"2023-11-14T22:13:21+00:00",
    }


def test_foreign_headers_come_first_in_order_with_duplicates_and_any_bytes() -> None:
    foreign = [("a", b"1"), ("b", b"\xff\xfe"), ("a", b"2")]
    assert headers_of(foreign)[:3] == foreign


def test_older_headers_of_ours_are_replaced_but_lineage_stays() -> None:
    headers = headers_of([("headrace-error-type", b"old"), ("headrace-root", b"r"), ("headrace-hops", b"2")])
    assert ("headrace-error-type", b"old") not in headers
    assert headers[:2] == [("headrace-root", b"r"), ("headrace-hops", b"2")]


def test_headers_over_the_limit_are_cut_and_counted() -> None:
    headers = headers_of([("h", b"x")] * (MAX_HEADERS + 5))
    assert headers.count(("h", b"x")) == MAX_HEADERS
    assert ("headrace-headers-dropped", b"5") in headers


def letter_within(max_bytes: int, value: bytes) -> Append:
    record = Record(42, 0, b"k", value, pack([("big", b"x" * 500), ("ce_id", b"e1"), ("headrace-root", b"r")]))
    sender = Sender("confirm", "shop.confirm.dlt", 4, "c0de", max_bytes)
    return dead_letter(record, Origin("orders", 6, 42), FAILURE, attempts=3, sender=sender, now_ms=1700000001000)


def test_what_is_too_large_for_the_topic_is_a_stub_that_points_to_its_origin() -> None:
    letter = letter_within(10_000, b"v" * 10_000)
    headers = dict(unpack(letter.headers))
    assert (letter.key, letter.value) == (b"k", None)
    assert "big" not in headers
    assert (headers["ce_id"], headers["headrace-root"]) == (b"e1", b"r")
    assert (headers["headrace-origin-topic"], headers["headrace-origin-offset"]) == (b"orders", b"42")
    assert headers["headrace-value-dropped"] == b"10000"
    assert fits(letter, 10_000)


def test_what_just_fits_is_whole() -> None:
    letter = letter_within(10_000, b"v" * 8_000)
    assert letter.value == b"v" * 8_000
    assert "big" in dict(unpack(letter.headers))


def test_what_others_noted_of_redrives_does_not_go_to_a_retry_topic():
    kept = [("a", b"1"), ("b", b"2")]
    record = Record(0, 0, b"k", b"v", pack([kept[0], ("headrace-redrive", b"7"), kept[1]]))
    assert unpack(without_redrives(record).headers) == kept
    plain = Record(0, 0, b"k", b"v", pack(kept))
    assert without_redrives(plain) is plain
