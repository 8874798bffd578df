"""Emitting a sample: an event made from a function's schema, to see what the function does with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from headrace.cli.dev.trace import printable
from headrace.cli.sample import sample_of
from headrace.functions.codec import JsonText
from headrace.producer import connect
from headrace.sandbox.manifest import FunctionSpec

_MOST = 9  # a digit each
_LONGEST = 200


class Choice(NamedTuple):
    """A function, and the topic of its that gets the event."""

    function: FunctionSpec
    topic: str

    def __str__(self) -> str:
        return f"{self.function.name} ({self.topic})"


def choices_of(functions: Sequence[FunctionSpec]) -> list[Choice]:
    """What may be emitted: a sample for each function, to each of its topics."""
    return [Choice(function, topic) for function in functions for topic in function.topics][:_MOST]


async def emit_sample(choice: Choice, broker: str) -> str:
    """Append a sample; what it was, as a sentence. Raises `HeadraceError`."""
    data, type_ = sample_of(choice.function, Random())  # noqa: S311  (a sample, not a secret)
    async with connect(broker) as log:
        place = await log.emit(choice.topic, data, type=type_)
    shown = str(data) if isinstance(data, JsonText) else json.dumps(data, ensure_ascii=False)
    cut = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    return f"emitted {type_ or 'a sample'} to {place.topic}/{place.partition}@{place.offset}: {printable(cut)}"
