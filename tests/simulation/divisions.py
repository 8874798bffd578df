"""Planted defects in batches: who is charged for one that failed as a whole, who comes alone. Each must be found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from headrace.runtime.batching import Batching
from headrace.runtime.flights import Flight
from headrace.sandbox.outcome import Outcome


def _whole_batch_charged() -> AbstractContextManager[Any]:
    def lose(
        _self: Batching, _chunk: int, flight: Flight, guilty: Mapping[int, Outcome]
    ) -> tuple[Mapping[int, Outcome], Collection[int]]:
        return dict.fromkeys(flight.open, next(iter(guilty.values()))) if guilty else {}, ()

    return patch.object(Batching, "lose", lose)


def _failed_event_not_set_apart() -> AbstractContextManager[Any]:
    return patch.object(Batching, "set_apart", lambda _self, _offset: None)


DIVISIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "whole batch charged": _whole_batch_charged,
    "failed event not set apart": _failed_event_not_set_apart,
}
