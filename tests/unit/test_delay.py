from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from headrace.cli.amounts import parse_delay
from headrace.delay import due_ms
from headrace.functions.errors import EmitRefused

NOW = 1_700_000_000_000


def at(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("delay", "not_before", "due"),
    [
        (None, None, 0),
        (0, None, 0),
        (10, None, NOW + 10_000),
        (0.25, None, NOW + 250),
        (0.0001, None, NOW + 1),
        (None, at(NOW + 1), NOW + 1),
        (None, at(NOW + 1.5), NOW + 2),
        (None, at(NOW), 0),
        (None, at(0), 0),
        (None, at(NOW + 60_000).astimezone(timezone(timedelta(hours=5, minutes=45))), NOW + 60_000),
    ],
)
def test_a_delay_or_a_time_is_a_millisecond_rounded_up_and_the_past_is_at_once(delay, not_before, due):
    assert due_ms(delay, not_before, NOW) == due


@pytest.mark.parametrize(
    ("delay", "not_before", "message"),
    [
        (1, at(NOW), "give one of them"),
        (-1, None, "delay=-1 is no number of seconds, 0 or more"),
        (math.inf, None, "delay=inf is no number of seconds"),
        (math.nan, None, "delay=nan is no number of seconds"),
        ("5m", None, "delay='5m' is no number of seconds"),
        (1e12, None, "ten years at most; delay is in seconds"),
        (None, at(NOW + 1e12), "ten years at most"),
        (None, datetime(2026, 1, 1), "is no time with a zone"),  # noqa: DTZ001
        (None, 1_700_000_000, "is no time with a zone"),
    ],
)
def test_what_is_no_time_is_refused(delay, not_before, message):
    with pytest.raises(EmitRefused, match=message):
        due_ms(delay, not_before, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("1.5", 1.5), ("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604_800), ("0", 0)]
)
def test_a_length_of_time_on_the_command_line(text, seconds):
    context = click.Context(click.Command("emit"))
    assert parse_delay(context, click.Option(["--delay"]), text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1e3", "inf", "1:30", "٣"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no span of time: write seconds, or for example 90s, 5m, 2h, 7d"):
        parse_delay(click.Context(click.Command("emit")), click.Option(["--delay"]), text)
