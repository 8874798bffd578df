"""Header blocks: what is packed is what is read, in either form."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.sandbox.headers import Header, by_name, pack, unpack

names = st.sampled_from(["ce_id", "ce_type", "traceparent", ""]) | st.text(max_size=20)
headers = st.lists(st.tuples(names, st.binary(max_size=40)), max_size=12)


@given(headers)
def test_order_and_duplicates_are_kept(pairs: list[Header]) -> None:
    assert unpack(pack(pairs)) == pairs


@given(headers)
def test_by_name_the_last_one_counts(pairs: list[Header]) -> None:
    assert by_name(pack(pairs)) == dict(pairs)


@given(headers)
def test_a_block_written_as_pairs_is_read_the_same(pairs: list[Header]) -> None:
    block = msgspec.msgpack.encode(pairs)
    assert (unpack(block), by_name(block)) == (pairs, dict(pairs))


def test_no_headers_take_no_bytes() -> None:
    assert (pack([]), unpack(b""), by_name(b"")) == (b"", [], {})


@pytest.mark.parametrize("block", [b"\xc1", b"\x01", msgspec.msgpack.encode({"a": 1}), msgspec.msgpack.encode(["a"])])
def test_other_bytes_are_refused(block: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        unpack(block)
    with pytest.raises(msgspec.DecodeError):
        by_name(block)
