"""Warmth: a declaration that serves nobody, for what making the first one costs a process.

The first declaration, the first model and the first manifest of a process build what later ones find there: half of
what a small target takes to load. The zygote does it once, for all its workers.
"""

from __future__ import annotations

from pydantic import BaseModel

from headrace.functions.declare import declaration_of, function
from headrace.functions.signature import read_signature
from headrace.sandbox.specification import spec_of


class _Payload(BaseModel):
    text: str


@function("topic")
def _handler(payload: _Payload) -> None:
    """Never called."""


def warm_up() -> None:
    """Take the way of a declaration, from its options to the manifest."""
    if (declaration := declaration_of(_handler)) is not None:
        spec_of(read_signature(declaration))
