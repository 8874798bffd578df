"""Quantities as people write them."""

from __future__ import annotations

import pytest

from headrace.runtime.quantity import bytes_of, milliseconds_of


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("1.5 m", 90_000),
        ("12h", 43_200_000),
        ("7D", 604_800_000),
        (" 2w ", 1_209_600_000),
    ],
)
def test_spans_of_time_are_read(text: str, milliseconds: int) -> None:
    assert milliseconds_of(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("64KiB", 65_536), ("1.5 GB", 1_500_000_000), ("10b", 10), ("2TiB", 2 << 40)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 days", "7d 3h", "1e3s", "∞"])
def test_what_is_no_span_of_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no span of time: .* for example 7d"):
        milliseconds_of(text)


@pytest.mark.parametrize("text", [f"{'9' * 400}s", f"{'9' * 20}d"])
def test_more_than_can_be_counted_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is too much: write less"):
        milliseconds_of(text)


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 gigabyte", "0x10"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size: .* for example 10GB"):
        bytes_of(text)
