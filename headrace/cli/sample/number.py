"""Plausible numbers within the bounds of a JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from random import Random
from typing import Any

from headrace.cli.sample.failure import NoSample

_SPAN = 100
_MONEY = re.compile(r"price|total|amount|cost|sum$|fee$|balance", re.IGNORECASE)
_RANGES = (
    (re.compile(r"quantity|qty|count|items?$|attempt", re.IGNORECASE), (1, 5)),
    (re.compile(r"^age$|_age$"), (18, 80)),
    (re.compile(r"year", re.IGNORECASE), (2000, 2025)),
    (re.compile(r"percent", re.IGNORECASE), (1, 100)),
    (re.compile(r"port$", re.IGNORECASE), (1024, 9999)),
    (re.compile(r"(^|_)id$|Id$"), (1000, 9999)),
)


def integer(schema: Mapping[str, Any], place: str, name: str, draw: Random) -> int:
    """A whole number, one that the property's name suggests where the bounds allow it."""
    step = _fraction(schema.get("multipleOf", 1))
    step *= step.denominator  # the least whole number that is a multiple
    return int(_multiple(schema, place, name, draw, step))


def number(schema: Mapping[str, Any], place: str, name: str, draw: Random) -> float:
    """A number: money with two digits behind the point, else a whole one where the bounds have one."""
    if "multipleOf" in schema:
        return float(_multiple(schema, place, name, draw, _fraction(schema["multipleOf"])))
    if _MONEY.search(name):
        price = draw.randint(5, 99) + Fraction(draw.choice((0, 49, 90, 99)), 100)
        if _within(schema, price):
            return float(price)
    try:
        return int(_multiple(schema, place, name, draw, Fraction(1)))
    except NoSample:
        low, high = _bounds(schema)
        if low is None or high is None or not _within(schema, middle := (low + high) / 2):
            raise
        return float(middle)


def _multiple(schema: Mapping[str, Any], place: str, name: str, draw: Random, step: Fraction) -> Fraction:
    low, high = _bounds(schema)
    wanted = next((span for pattern, span in _RANGES if pattern.search(name)), (1, _SPAN))
    reach = max(Fraction(_SPAN), 2 * step)
    if low is None:
        low = Fraction(wanted[0]) if high is None or high > wanted[0] else high - reach
    if high is None:
        high = max(Fraction(wanted[1]), low + reach) if low > wanted[0] or step > 1 else Fraction(wanted[1])
    narrow = (max(low, Fraction(wanted[0])), min(high, Fraction(wanted[1])))
    for least, most in (narrow, (low, high)):
        first, last = math.ceil(least / step), math.floor(most / step)
        first += not _within(schema, first * step)
        last -= not _within(schema, last * step)
        if first <= last:
            return draw.randint(first, last) * step
    raise NoSample(f"{place or 'the data'}: no multiple of {float(step):g} lies within its bounds")


def _bounds(schema: Mapping[str, Any]) -> tuple[Fraction | None, Fraction | None]:
    lows = [_fraction(schema[key]) for key in ("minimum", "exclusiveMinimum") if key in schema]
    highs = [_fraction(schema[key]) for key in ("maximum", "exclusiveMaximum") if key in schema]
    return max(lows, default=None), min(highs, default=None)


def _within(schema: Mapping[str, Any], value: Fraction) -> bool:
    return (
        ("minimum" not in schema or value >= _fraction(schema["minimum"]))
        and ("maximum" not in schema or value <= _fraction(schema["maximum"]))
        and ("exclusiveMinimum" not in schema or value > _fraction(schema["exclusiveMinimum"]))
        and ("exclusiveMaximum" not in schema or value < _fraction(schema["exclusiveMaximum"]))
    )


def _fraction(value: float | str) -> Fraction:
    return Fraction(str(value))
