"""How long and how much, as typed on the command line and as shown there."""

from __future__ import annotations

import click
import pytest

from headrace.cli.amounts import UNLIMITED, duration, limit, not_due, parse_retention, parse_size, size

CONTEXT = click.Context(click.Command("test"))
OPTION = click.Option(["--some"])


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90s", 90_000), ("1.5s", 1500), ("12h", 43_200_000), ("7d", 604_800_000), ("forever", UNLIMITED), (None, None)],
)
def test_a_retention_is_a_length_of_time_or_forever(text, milliseconds):
    assert parse_retention(CONTEXT, OPTION, text) == milliseconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1000", 1000),
        ("500KB", 500_000),
        ("64MiB", 64 << 20),
        ("10gb", 10**10),
        ("1.5 GiB", 3 << 29),
        ("unlimited", UNLIMITED),
        (None, None),
    ],
)
def test_a_size_is_bytes_with_a_unit_or_unlimited(text, count):
    assert parse_size(CONTEXT, OPTION, text) == count


@pytest.mark.parametrize("text", ["", "-1", "0", "x", "10 parrots", "1e3", "0.1"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(click.BadParameter, match="64MiB"):
        parse_size(CONTEXT, OPTION, text)


@pytest.mark.parametrize("text", ["0", "0s", "0.0001"])
def test_a_retention_that_keeps_nothing_is_refused(text):
    with pytest.raises(click.BadParameter, match="forever"):
        parse_retention(CONTEXT, OPTION, text)


def test_what_was_not_given_stays_and_unlimited_is_no_limit():
    assert (limit(None, 5), limit(UNLIMITED, 5), limit(7, 5)) == (5, None, 7)


def test_amounts_are_shown_in_the_unit_that_fits():
    assert [duration(n) for n in (604_800_000, 5_400_000, 1500, None)] == ["7d", "90m", "1500ms", "forever"]
    assert [size(n) for n in (0, 999, 422_893, 10**10, None)] == ["0 B", "999 B", "422.9 KB", "10.0 GB", "unlimited"]
    assert size(5 * 10**13) == "50.0 TB"


@pytest.mark.parametrize(
    ("count", "ms", "said"),
    [
        (1, 1, "1 delayed event is not due yet, the next in 1 s"),
        (3, 12_000, "3 delayed events are not due yet, the next in 12 s"),
        (1200, 119_001, "1,200 delayed events are not due yet, the next in 2 min"),
        (2, 7_199_999, "2 delayed events are not due yet, the next in 2 h"),
        (2, 3 * 86_400_000, "2 delayed events are not due yet, the next in 3 days"),
        (2, -5, "2 delayed events are not due yet, the next in 1 s"),
    ],
)
def test_what_is_not_due_is_told_in_words(count, ms, said):
    assert not_due(count, ms) == said
