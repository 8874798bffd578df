"""Demands: the options of a function that a broker must be able to honour. What it cannot is refused at the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from headrace.functions.errors import DeclarationError
from headrace.runtime.ports import Features
from headrace.sandbox.manifest import FunctionSpec


class _Demand(NamedTuple):
    """An option, when it asks something of the broker, whether that can be had, and what to do otherwise."""

    is_made: Callable[[FunctionSpec], bool]
    is_met: Callable[[Features], bool]
    refusal: str


_DEMANDS = (
    _Demand(
        lambda spec: spec.guarantee == "effectively-once",
        lambda features: features.transactions,
        "guarantee='effectively-once' needs transactions, which this broker does not have; leave it out for "
        "at-least-once, or run on another broker",
    ),
    _Demand(
        lambda spec: spec.start not in {None, "earliest", "latest"},
        lambda features: features.seek_by_time,
        "start= a time needs a broker that finds records by time, which this one cannot; use 'earliest' or 'latest'",
    ),
)


def check_demands(spec: FunctionSpec, features: Features) -> None:
    """Raise `DeclarationError` for the first option of a function that a broker with these features cannot honour."""
    for demand in _DEMANDS:
        if demand.is_made(spec) and not demand.is_met(features):
            raise DeclarationError(f"{spec.file}:{spec.line}: {spec.name}: {demand.refusal}")
